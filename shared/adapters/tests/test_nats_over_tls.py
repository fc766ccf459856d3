"""NATS over TLS: what is not encrypted, or not by whom we trust, is refused by both sides."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc.nats_users import OPERATOR, nats_users
from kernel.topology import FTGO
from shared.adapters.nats.connection import NatsAddress, connect
from shared.messaging.broker import BrokerUnavailable
from tests.support.infra import PASSWORD, Infra
from tools.system.system import ROOT


def make_certificates(folder: Path) -> Path:
    subprocess.run([ROOT / "docker" / "make-certificates", folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those of our server."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def url(infra: Infra, certificates: Path) -> Iterator[str]:
    """A NATS with the same lines as in the container."""
    (tls,) = re.findall(r"^tls \{.*?^\}", (ROOT / "docker/nats.tls.conf").read_text(), re.MULTILINE | re.DOTALL)
    # The probe of the tests waits for what NATS says first: a moment later it says so in the clear, and nothing else.
    settings = tls.replace("/certificates", str(certificates)).replace(
        "handshake_first: true", "handshake_first: 100ms"
    )
    with infra.nats(settings, {user.name: PASSWORD for user in nats_users()}) as server:
        yield server.url


def address(url: str, ca_file: Path | None) -> NatsAddress:
    return NatsAddress(url, FTGO, OPERATOR, PASSWORD, ca_file)


async def test_whom_our_authority_vouches_for_is_spoken_to(url: str, certificates: Path) -> None:
    async with connect(address(url, certificates / "ca.crt")) as connection:
        assert (await connection.jetstream.account_info()).streams == 0


async def test_a_server_of_another_authority_is_not(url: str, tmp_path: Path) -> None:
    with pytest.raises(BrokerUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        async with connect(address(url, make_certificates(tmp_path) / "ca.crt")):
            pass


async def test_a_client_without_tls_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.adapters.nats.connection.CONNECT_SECONDS", 1.0)
    with pytest.raises(BrokerUnavailable):
        async with connect(address(url, None)):
            pass


async def test_a_server_without_tls_is_told_nothing(infra: Infra, certificates: Path) -> None:
    with pytest.raises(BrokerUnavailable):
        async with connect(address(infra.nats_url, certificates / "ca.crt")):
            pass


async def test_an_authority_that_is_not_there_is_named(url: str, tmp_path: Path) -> None:
    with pytest.raises(BrokerUnavailable, match=r"the authority in .*nowhere\.crt can't be read"):
        async with connect(address(url, tmp_path / "nowhere.crt")):
            pass
