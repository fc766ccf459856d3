"""The outbox in PostgreSQL: in a unit of work, and in a transaction of your own."""

from collections.abc import Sequence

from shared.adapters.postgres.connections import AnyConnection, rows_of
from shared.adapters.postgres.statements import Statements
from shared.core.clock import Clock, utc_now
from shared.core.messages import AnyCommand, Event
from shared.core.serialization import to_json
from shared.messaging.envelope import Envelope
from shared.messaging.outbox import new_envelope

_ADD = (
    "insert into outbox (subject, key, headers, data) "
    "select * from unnest($1::text[], $2::text[], $3::text[], $4::text[])"
)


class Outbox:
    """The outbox in a transaction of yours: what is added is published if the transaction commits, and only then.

    `connection` is asyncpg's, or an AsyncConnection or AsyncSession of SQLAlchemy, within a transaction. Keep that
    shorter than a minute, with PostgreSQL's `transaction_timeout` for example: a relay that publishes again what a
    stream has lost looks no further back.
    """

    def __init__(self, connection: AnyConnection, *, clock: Clock = utc_now) -> None:
        self._connection = connection
        self._clock = clock

    async def add(self, *messages: Event | AnyCommand) -> None:
        """Add public messages. They are published in this order, with the ids of what is being handled as their cause.

        Raises TypeError for a message that is not public or has no key, MessageTooLarge, RuntimeError outside of a
        transaction, and what the driver raises.
        """
        await rows_of(self._connection, _ADD, *_columns([new_envelope(each, self._clock()) for each in messages]))


class PostgresOutbox:
    """Implements `messaging.outbox.OutboxStore`: one statement for all messages of a unit of work."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def add(self, messages: Sequence[Envelope]) -> None:
        """Write messages in this order."""
        await self._statements.write("outbox", _ADD, *_columns(messages))


def _columns(messages: Sequence[Envelope]) -> tuple[list[str], ...]:
    return (
        [message.route for message in messages],
        [message.key for message in messages],
        [to_json(message.to_headers()) for message in messages],
        [message.data for message in messages],
    )
