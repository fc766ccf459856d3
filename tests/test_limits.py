"""README names every limit on what a client can make grow, with its number as the code has it."""

import pytest

from accounting.domain.account import MAX_AUTHORIZED
from consumer.domain.consumer import MAX_ADDRESSES
from kernel.topology import BY_NAME
from order_history.history import MAX_WORDS
from order_history.words import LONGEST_WORD
from shared.core.errors import LimitReached
from shared.eventsourcing import store
from shared.unit_of_work import cache, unit_of_work
from shared.web import gate, parameters, server
from tools.documents.catalogue import container_of
from tools.system.system import ROOT

README = (ROOT / "README.md").read_text()
KIB, MIB = 1 << 10, 1 << 20


def test_every_error_of_a_limit_is_named() -> None:
    for service in BY_NAME:
        container_of(service)  # its errors are known when it has been imported
    errors = [error for error in LimitReached.__subclasses__() if not error.__module__.startswith("shared.")]
    assert errors
    for error in errors:
        assert f"422 `{error.text}`" in README, error


@pytest.mark.parametrize(
    "row",
    [
        f"| consumer's addresses | {MAX_ADDRESSES} |",
        f"| object in a body | {parameters.MAX_ENTRIES} entries",
        f"{MAX_WORDS:,}, each by its first {LONGEST_WORD} characters",
        f"{store.MAX_READ_TOGETHER // MIB} MiB read of each kind",
        f"{unit_of_work.MAX_WRITTEN_TOGETHER // KIB} Ki characters sent",
        f"| states kept from one transaction to the next | {cache.MAX_BYTES // MIB} MiB |",
        f"50 items (`limit`), {store.MAX_PAGE // MIB} MiB",
        f"{gate.SMALL_BODY // KIB} KiB each, and {gate.MAX_LARGE_BODIES // MIB} MiB beyond that in total",
        f"{server.UNREAD_SECONDS:g} s, and {server.MAX_UNREAD // MIB} MiB in total",
        f"2<sup>{(MAX_AUTHORIZED + 1).bit_length() - 1}</sup> - 1 cents",
    ],
)
def test_the_number_is_that_of_the_code(row: str) -> None:
    assert row in README
