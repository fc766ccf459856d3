"""What an application's name makes of the names of its things."""

import pytest

from shared.adapters.nats.names import NatsNames
from shared.core.application import Application
from shared.core.releases import Release
from shared.messaging.envelope import OWN_HEADER


@pytest.mark.parametrize("name", ["", "FTGO", "9lives", "a_b", "a-b", "a.b", "a b", "ä", "a*", "a\n", "ce"])
def test_a_name_that_could_be_taken_for_another_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="an application's name has lower-case letters and digits only"):
        Application(name)


def test_without_releases_there_is_one() -> None:
    assert Application("loans").releases.known == (Release(1, "1", beside=1),)


def test_only_names_of_headers_are_changed_on_the_wire() -> None:
    names = NatsNames(Application("loans"))
    plain = (
        b"NATS/1.0\r\nNats-Msg-Id: app-1\r\nce-type: app-like\r\napp-previous-a: 0\r\nce-dataschema: urn:app:a.B:2\r\n"
        b"apple: 1\r\n\r\n"
    )
    wire = names.headers_to_wire(plain)
    assert wire == (
        b"NATS/1.0\r\nNats-Msg-Id: app-1\r\nce-type: app-like\r\nloans-previous-a: 0\r\n"
        b"ce-dataschema: urn:loans:a.B:2\r\napple: 1\r\n\r\n"
    )
    assert names.headers_from_wire(wire) == plain
    assert OWN_HEADER == "app-"
