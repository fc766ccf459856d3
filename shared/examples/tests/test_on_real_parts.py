"""The examples as they are run by their users: processes, PostgreSQL and NATS."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.examples import lending as topology
from shared.examples.books.main import container as books
from shared.examples.members.main import container as members
from shared.examples.tests.processes import Python, lending, lends_a_book, publishes_and_receives
from tests.support.infra import Infra, NatsServer

ROOT = Path(__file__).resolve().parents[3]
NewNats = Callable[[], NatsServer]


@pytest.fixture
def python(tmp_path: Path) -> Python:
    return Python(Path(sys.executable), tmp_path, str(ROOT))


@pytest.mark.time_limit(180)
async def test_a_service_of_ones_own_publishes_by_its_outbox_and_handles_by_its_inbox(
    python: Python, infra: Infra, new_nats: NewNats
) -> None:
    await publishes_and_receives(python, infra, new_nats().url)


@pytest.mark.time_limit(180)
async def test_a_saga_runs_between_two_services(python: Python, infra: Infra, new_nats: NewNats) -> None:
    async with lending(python, infra, new_nats().url) as clients:
        await lends_a_book(clients)


def test_the_relays_know_what_each_service_reads() -> None:
    assert {"members": members().routes(), "books": books().routes()} == topology.READS


def test_the_first_example_is_short() -> None:
    source = (ROOT / "shared" / "examples" / "outbox.py").read_text()
    assert len(source.splitlines()) <= 60
