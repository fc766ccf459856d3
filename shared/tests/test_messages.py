"""Messages as classes: their names, keys and replies; and the handlers that are found for them."""

import dataclasses
from types import ModuleType
from typing import Any

import pytest

from shared.core import messages
from shared.core.messages import Command, Done, Event, Message, Reply, all_message_types, message_type
from shared.messaging.handlers import Handlers, handles
from shared.tests import wallets
from shared.tests.contracts import Balance, Deposit, Deposited, WalletId, WalletOpened, Withdraw
from shared.tests.wallets import Noted, WalletUnitOfWork
from shared.unit_of_work.prefetch import ids_named_by


@pytest.fixture(autouse=True)
def forgotten_afterwards() -> Any:
    """Messages that a test declares are not there for the next."""
    before = dict(messages._types)
    yield
    messages._types.clear()
    messages._types.update(before)


def test_a_message_is_called_after_its_service_and_class() -> None:
    assert Deposited.type_name == "tests.Deposited"
    assert message_type("tests.Deposited") is Deposited
    assert message_type("tests.Nobody") is None
    assert all_message_types()["tests.Withdraw"] is Withdraw


def test_a_message_is_a_frozen_keyword_only_dataclass() -> None:
    message = Deposit(wallet_id=WalletId("w"), amount=1)
    assert message == Deposit(amount=1, wallet_id=WalletId("w"))
    assert hash(message) == hash(Deposit(amount=1, wallet_id=WalletId("w")))
    with pytest.raises(dataclasses.FrozenInstanceError):
        message.amount = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        Deposit("w", 1)  # type: ignore[call-arg,arg-type]


def test_a_name_can_be_pinned() -> None:
    class Renamed(Event, name="old.Name", schema=3):
        pass

    assert (Renamed.type_name, Renamed.schema, message_type("old.Name")) == ("old.Name", 3, Renamed)


def test_a_second_class_of_the_same_name_is_an_error() -> None:
    with pytest.raises(TypeError, match=r"tests\.Deposited"):
        type("Deposited", (Event,), {"__annotations__": {}, "__module__": "shared.tests.elsewhere"})
    assert message_type("tests.Deposited") is Deposited


def test_a_key_must_be_a_field() -> None:
    with pytest.raises(TypeError, match="no field 'order_id'"):

        class Keyless(Event, key="order_id"):
            pass

    assert message_type("tests.Keyless") is None


def test_the_key_is_the_value_of_its_field() -> None:
    assert Deposit(wallet_id=WalletId("w"), amount=1).key == "w"
    with pytest.raises(TypeError, match="without key="):
        _ = Balance(amount=1).key


def test_what_contracts_declare_is_public() -> None:
    assert (WalletOpened.is_public, Withdraw.is_public, Noted.is_public) == (True, True, False)


def test_a_message_declared_outside_contracts_is_public_where_it_names_its_service() -> None:
    class BookLent(Event, service="loans"):
        pass

    assert (BookLent.type_name, BookLent.is_public) == ("loans.BookLent", True)


@pytest.mark.parametrize(
    ("module", "service"),
    [
        ("order.contracts", "order"),
        ("order.domain.order", "order"),
        ("order.application.sagas.create_order", "order"),
        ("shared.tests.contracts", "tests"),
        ("shared.core.messages", "shared"),
        ("loans", "loans"),
    ],
)
def test_the_service_is_the_nearest_package_with_contracts(module: str, service: str) -> None:
    assert messages.service_of(module) == service


def test_handlers_can_be_given_as_functions() -> None:
    async def note(event: WalletOpened, uow: WalletUnitOfWork) -> None:
        pass

    assert list(Handlers.of(note)) == [WalletOpened]
    with pytest.raises(TypeError, match="two handlers"):
        Handlers.of(note, note)


def test_a_command_says_what_it_answers() -> None:
    class Direct(Command[Balance]):
        pass

    assert Withdraw.reply_type() is Balance
    assert Deposit.reply_type() is Done
    assert Direct.reply_type() is Balance
    assert Withdraw.service() == "tests"


def test_the_bases_are_no_messages() -> None:
    for base in (Message, Event, Command, Reply):
        assert base not in all_message_types().values()


def module(**functions: Any) -> ModuleType:
    made = ModuleType("made_by_a_test")
    for name, function in functions.items():
        function.__module__ = made.__name__
        setattr(made, name, handles(function))
    return made


def test_handlers_are_found_by_their_mark() -> None:
    found = Handlers.of(wallets)
    assert set(found) == {Deposit, Withdraw, WalletOpened, Deposited}
    assert found[Deposit] is wallets.deposit
    assert found.routes() == [
        "command.tests.Deposit",
        "command.tests.Withdraw",
        "event.tests.Deposited",
        "event.tests.WalletOpened",
    ]


def test_private_messages_are_not_subscribed_to() -> None:
    async def private(event: Noted, uow: object) -> None:
        pass

    assert Handlers.of(module(private=private)).routes() == []


def test_a_message_has_one_handler() -> None:
    async def one(command: Deposit, uow: object) -> None:
        pass

    async def two(command: Deposit, uow: object) -> None:
        pass

    with pytest.raises(TypeError, match="two handlers"):
        Handlers.of(module(one=one, two=two))


def test_a_handler_answers_what_its_command_says() -> None:
    async def silent(command: Withdraw, uow: object) -> None:
        pass

    async def talkative(command: Deposit, uow: object) -> Balance:
        return Balance(amount=1)

    async def mistaken(event: Deposited, uow: object) -> Balance:
        return Balance(amount=1)

    for function, expected in ((silent, "Balance"), (talkative, "Done"), (mistaken, "Done")):
        with pytest.raises(TypeError, match=f"should answer {expected}"):
            Handlers.of(module(function=function))


def test_the_ids_that_a_message_names_are_known_by_their_types() -> None:
    assert list(ids_named_by(Deposit(wallet_id=WalletId("w"), amount=1))) == [(WalletId, "w")]
    assert list(ids_named_by(Balance(amount=1))) == []
