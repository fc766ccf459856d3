"""Orders that an older version of the service has left behind."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from order.adapters.postgres import TABLES, unit_of_work
from order.application.sagas.create_order import CreateOrderSaga
from order.domain.order import OrderState
from order.tests.given import CONSUMER, LINE_ITEMS, NOBODY, ORDER, RESTAURANT, TOTAL, an_order
from shared.adapters.postgres.database import PostgresDatabase
from shared.core.clock import utc_now
from shared.core.context import Cause, handling
from shared.core.ids import derived_id, new_id
from shared.core.policy import Policy
from shared.core.serialization import from_json, to_json
from shared.host.migrations import migrate
from shared.host.provision import Database
from tests.support.infra import Infra
from tests.support.old_data import BEFORE_THE_FIRST_RELEASE, FIRST_RELEASE, migrated_to, run_sql

EVENT, CORRELATION = new_id(), new_id()
SAGA = derived_id(CreateOrderSaga.type_name, EVENT, ORDER)
SAGAS = "select id, key, data::text, correlation_id, phase, awaiting from sagas"


@pytest.fixture(params=[BEFORE_THE_FIRST_RELEASE, FIRST_RELEASE])
def old(infra: Infra, request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database as it was before sagas began with their orders, or as the first release has taken it over."""
    with infra.database("order") as database:
        migrated_to(database, request.param)
        yield database


def placed(database: Database, state: OrderState) -> None:
    """An order is stored, as it was from the beginning: `EVENT` is the id of what began it."""
    for version, event in enumerate(an_order(state).take_recorded(), start=1):
        metadata = {"id": EVENT if version == 1 else new_id(), "schema": 1, "correlation_id": CORRELATION}
        run_sql(
            database.url,
            "insert into events values ('Order', %s, %s, %s, %s, %s, now())",
            ORDER,
            version,
            event.type_name,
            to_json(event),
            to_json(metadata | {"causation_id": new_id()}),
        )


def set_aside(database: Database, order: str, type_: str) -> None:
    run_sql(
        database.url,
        "insert into set_aside (partition, key, source, message_id, row_id, headers, data, set_aside_at, retry_at)"
        " values (0, %s, 'order', %s, 'order-1', %s, '{}', now(), now())",
        order,
        new_id(),
        to_json({"ce-type": type_}),
    )


async def test_an_order_that_waits_for_a_saga_gets_it_and_it_goes_on(old: Database) -> None:
    placed(old, OrderState.APPROVAL_PENDING)
    migrate(old.service, old.migrations_url)
    ((id_, key, data, correlation_id, phase, awaiting),) = run_sql(old.url, SAGAS)
    assert (id_, key, correlation_id, phase, awaiting) == (SAGA, ORDER, CORRELATION, "forward", None)
    assert from_json(CreateOrderSaga, data) == CreateOrderSaga(
        order_id=ORDER, consumer_id=CONSUMER, restaurant_id=RESTAURANT, line_items=LINE_ITEMS, order_total=TOTAL
    )

    database = PostgresDatabase(old.url, TABLES)
    try:
        async with database.transaction() as transaction:
            (due,) = await transaction.saga_timers.due(Policy().sagas_due(utc_now() + timedelta(seconds=1)), 10)
            assert due == (SAGA, CORRELATION)
            uow = unit_of_work(transaction, lambda: utc_now() + timedelta(seconds=1), Policy())
            with handling(Cause(correlation_id=CORRELATION, id=new_id(), causation_id=new_id())):
                await uow.sagas.wake(SAGA)
                await uow.flush()
    finally:
        await database.close()
    assert run_sql(old.url, "select subject, key from outbox") == [
        ("command.consumer.ValidateOrderByConsumer", CONSUMER)
    ]


@pytest.mark.parametrize("state", [each for each in OrderState if each not in ("New", "ApprovalPending")])
def test_an_order_that_has_gone_on_gets_none(old: Database, state: OrderState) -> None:
    placed(old, state)
    migrate(old.service, old.migrations_url)
    assert run_sql(old.url, SAGAS) == []


def test_an_order_that_has_one_gets_no_second(old: Database) -> None:
    placed(old, OrderState.APPROVAL_PENDING)
    run_sql(
        old.url,
        "insert into sagas values"
        " (%s, 1, %s, %s, '{}', 2, 'forward', 'm', '', 0, 0, null, false, '', 'c', now(), now())",
        new_id(),
        CreateOrderSaga.type_name,
        ORDER,
    )
    migrate(old.service, old.migrations_url)
    assert len(run_sql(old.url, SAGAS)) == 1


def test_what_was_to_start_a_saga_and_was_set_aside_is_done_with(old: Database) -> None:
    placed(old, OrderState.APPROVAL_PENDING)
    set_aside(old, ORDER, "order.OrderCreated")
    set_aside(old, NOBODY, "order.OrderCreated")
    set_aside(old, ORDER, "restaurant.RestaurantCreated")
    migrate(old.service, old.migrations_url)
    left = run_sql(old.url, "select key, headers::json ->> 'ce-type' from set_aside order by seq")
    assert left == [(NOBODY, "order.OrderCreated"), (ORDER, "restaurant.RestaurantCreated")]
