"""What migrations are written with, the library's and a service's own.

Migrations run as the role that owns the tables. A service and its relay can have roles of their own, which are given
only the rights that they need. Roles that the server does not have get none, and an owner that is one of them keeps
all of its rights: so one role can do everything.
"""

from alembic import context, op
from sqlalchemy import text

from shared.core.messages import Event
from shared.core.serialization import to_json

PUBLICATION = "ftgo_outbox"
"""Each database has its own publication. Databases that exist have it under this name."""


def publishes() -> bool:
    """Return whether a relay reads the outbox of the database that is migrated."""
    return bool(context.config.attributes["publishes"])


def grant_to_service(rights: str, *, on: str) -> None:
    """Grant rights, such as `select, insert`, on tables, such as `orders, customers`, to the service's role."""
    for role in _role("service_role"):
        op.execute(f"grant {rights} on {on} to {role}")


def revoke_from_service(rights: str, *, on: str) -> None:
    """Revoke rights on tables from the service's role."""
    for role in _role("service_role"):
        op.execute(f"revoke {rights} on {on} from {role}")


def grant_to_relay(rights: str, *, on: str) -> None:
    """Grant rights on tables to the relay's role."""
    for role in _role("relay_role"):
        op.execute(f"grant {rights} on {on} to {role}")


def let_personal_data_be_erased(*events: type[Event]) -> None:
    """Let the service overwrite the personal fields of these events once one of them that erases has been stored.

    The fields and what replaces them are those that the classes declare with `personal=`. The events of an earlier call
    are replaced by these: give all events of the service that have personal fields or erase. After a change of the
    declarations, call it again in a new migration.
    """
    personal = _json_literal({event.type_name: event.personal for event in events if event.personal})
    erasing = _json_literal([event.type_name for event in events if event.erases])
    op.get_bind().exec_driver_sql(f"""
        create or replace function erase_personal(of_aggregate text, of_id text) returns void
        language sql security definer set search_path = public, pg_temp as $$
            update events set data = data || (
                select coalesce(jsonb_object_agg(key, value), '{{}}')
                from jsonb_each({personal} -> events.type) where events.data ? key
            )
            where aggregate = of_aggregate and id = of_id and {personal} ? type and exists (
                select from events as said
                where said.aggregate = of_aggregate and said.id = of_id and {erasing} ? said.type
            );
            delete from snapshots where aggregate = of_aggregate and id = of_id
        $$
    """)
    op.execute("revoke all on function erase_personal from public")
    grant_to_service("execute", on="function erase_personal")


def _role(attribute: str) -> list[str]:
    """Return the role as SQL writes it, or nothing if there is none beside the owner."""
    name: str | None = context.config.attributes[attribute]
    connection = op.get_bind()
    found = connection.scalar(
        text("select quote_ident(rolname) from pg_roles where rolname = :name and rolname <> current_user"),
        {"name": name},
    )
    return [] if found is None else [found]


def _json_literal(value: object) -> str:
    return "'" + to_json(value).replace("'", "''") + "'::jsonb"
