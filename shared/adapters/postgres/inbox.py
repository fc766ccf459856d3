"""The inbox in PostgreSQL: in a unit of work, and in a transaction of your own."""

from collections.abc import Mapping, Sequence

from shared.adapters.postgres.connections import AnyConnection, rows_of
from shared.adapters.postgres.statements import Statements
from shared.core.serialization import from_json, to_json
from shared.messaging.envelope import Envelope
from shared.messaging.inbox import Claim, KeptReply

_CLAIM = "insert into inbox (message_id, row_id, reply) select * from unnest($1::text[], $2::text[], $3::text[])"


class Inbox:
    """The inbox in a transaction of yours: each message is handled once, however often it arrives.

    `connection` is asyncpg's, or an AsyncConnection or AsyncSession of SQLAlchemy, within a transaction.
    """

    def __init__(self, connection: AnyConnection) -> None:
        self._connection = connection

    async def claim(self, message_id: str) -> bool:
        """Return True for the first transaction that claims the message, False when it has been handled.

        Where another transaction has claimed it and not ended yet, waits for that one. What rolls back has claimed
        nothing. Raises what the driver raises, and RuntimeError outside of a transaction.
        """
        claimed = f"{_CLAIM} on conflict do nothing returning 1"
        return bool(await rows_of(self._connection, claimed, [message_id], [""], [None]))


class PostgresInbox:
    """Implements `messaging.inbox.InboxStore`: one statement for all claims of a unit of work."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def find(self, message_ids: Sequence[str]) -> Mapping[str, Claim]:
        """Return the claims of those messages that were handled before, by their ids."""
        rows = await self._statements.fetch(
            "select message_id, row_id, reply from inbox where message_id = any($1::text[])", message_ids
        )
        return {
            id_: Claim(message_id=id_, row_id=row_id, reply=None if reply is None else from_json(Envelope, reply))
            for id_, row_id, reply in rows
        }

    async def add(self, claims: Sequence[Claim]) -> None:
        """Claim messages. Raises Conflict, at the latest at the commit, when one is claimed already."""
        await self._statements.write(
            "inbox",
            _CLAIM,
            [claim.message_id for claim in claims],
            [claim.row_id for claim in claims],
            [None if claim.reply is None else to_json(claim.reply) for claim in claims],
        )

    async def keep_replies(self, replies: Sequence[KeptReply]) -> None:
        """Add answers to claims that have none."""
        await self._statements.write(
            "inbox",
            "update inbox set reply = kept.reply from unnest($1::text[], $2::text[]) as kept(message_id, reply) "
            "where inbox.message_id = kept.message_id",
            [kept.message_id for kept in replies],
            [to_json(kept.reply) for kept in replies],
        )
