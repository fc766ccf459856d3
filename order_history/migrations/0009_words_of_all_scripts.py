"""Orders are found by the words of names in any script: those there are get their words anew."""

from datetime import UTC, datetime

from alembic import op
from sqlalchemy import text

from kernel.values import LineItem
from order_history.history import OrderRecord, Revision
from shared.core.serialization import from_json

revision = "0009"
down_revision = "0001"

_BATCH_ROWS = 1000
# Words of ASCII alone are what they were.
_NEXT = text("""
select id, restaurant_name, ordered_items::text, revisions::text, words from orders
where id > :after and restaurant_name || ordered_items::text ~ '[^[:ascii:]]'
order by id limit :at_once
""")
_WRITE = text("update orders set words = :words, version = version + 1 where id = :id")


def upgrade() -> None:
    connection = op.get_bind()
    # Nobody writes meanwhile, so no row is overlooked; what others have in hand meets another version afterwards.
    connection.execute(text("lock table orders in share row exclusive mode"))
    after = ""
    while rows := connection.execute(_NEXT, {"after": after, "at_once": _BATCH_ROWS}).all():
        after = rows[-1].id
        if changed := [{"id": row.id, "words": words} for row in rows if (words := _words(row)) != row.words]:
            connection.execute(_WRITE, changed)


def _words(row) -> str:
    id_, restaurant_name, ordered_items, revisions, _ = row
    order = OrderRecord(
        id=id_,
        restaurant_name=restaurant_name,
        ordered_items=from_json(tuple[LineItem, ...], ordered_items),
        revisions=from_json(tuple[Revision, ...], revisions),
        updated_at=datetime.now(UTC),
    )
    order.index_words()
    return order.words
