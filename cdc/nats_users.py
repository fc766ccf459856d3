"""Who may do what in NATS: a user for each service, for each relay, for the stream's keeper and for operators.

What a service reads and sends is in `kernel/traffic.json`. What JetStream's own permissions can't say, the keeper of
the stream enforces: it opens readers only for what is in `readable_routes`.
"""

import json
from dataclasses import dataclass

from kernel.topology import FTGO, SERVICES
from kernel.traffic import reads, senders_to, sends
from shared.adapters.nats.names import NatsNames
from shared.messaging.replay import END

OPERATOR = "ftgo"
"""May do everything: for the commands of `./ftgo` that read the stream."""
KEEPER = "keeper"
ALL_RELAYS = "relay"
"""The user of one process that is the relay of every service, and the keeper."""

_API = "$JS.API"
_NAMES = NatsNames(FTGO)
_STREAM = _NAMES.log.stream


@dataclass(frozen=True)
class NatsUser:
    """A user, and the subjects it may publish and subscribe to. A user with neither may do everything."""

    name: str
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()

    def configuration(self, password: str) -> str:
        """Return the user's line in NATS's configuration, with the password as it is written there."""
        rights = {
            "publish": {"allow": [*self.publish]},
            "subscribe": {"allow": [*self.subscribe]},
        }
        permissions = f", permissions: {json.dumps(rights)}" if self.publish or self.subscribe else ""
        return f'{{ user: "{self.name}", password: {password}{permissions} }}'


def relay_user(service: str) -> str:
    """Return the name of the user of a service's own relay."""
    return f"{service}-relay"


def readable_routes() -> dict[str, frozenset[str]]:
    """Return the routes that each service may read: the keeper opens readers for no others."""
    return {each.name: reads(each.name) for each in SERVICES}


def nats_users() -> list[NatsUser]:
    """Return all users, the operator first."""
    relays = [_relay(each.name) for each in SERVICES if each.publishes]
    keeper = _keeper()
    publish = [right for each in (keeper, *relays) for right in each.publish]
    subscribe = [right for each in (keeper, *relays) for right in each.subscribe]
    together = NatsUser(
        ALL_RELAYS,
        tuple(dict.fromkeys((*publish, *_asks(ALL_RELAYS)))),
        tuple(dict.fromkeys((*subscribe, _inbox(ALL_RELAYS)))),
    )
    return [NatsUser(OPERATOR), keeper, together, *(_service(each.name) for each in SERVICES), *relays]


def compose_users() -> str:
    """Return the users for the configuration of NATS's container, where each relay is a process of its own."""
    lines = [
        f"    {user.configuration('$' + compose_variable(user.name))}"
        for user in nats_users()
        if user.name != ALL_RELAYS
    ]
    return "\n".join(("# Made by ./ftgo docs from cdc/nats_users.py.", "users: [", *lines, "]")) + "\n"


def compose_variable(user: str) -> str:
    """Return the variable in the container's environment that has a user's password."""
    return f"NATS_PASSWORD_{user.upper().replace('-', '_')}"


def _service(name: str) -> NatsUser:
    """Return the user of a service: it reads what its subscription reads. Its relay publishes for it."""
    owners = sorted({route.split(".")[1] for route in reads(name) if route.startswith("event.")})
    replays = (
        () if _publishes(name) else (*_own_stream(_NAMES.replays(name).stream), *map(_NAMES.replay_control, owners))
    )
    asks = (
        ()
        if _publishes(name)
        else (_NAMES.keeper_subject(name, "replay.begin"), _NAMES.keeper_subject(name, "replay.end"))
    )
    again = [
        subject for sender in senders_to(name) for subject in (_NAMES.sent_control(sender), _NAMES.rows_control(sender))
    ]
    return NatsUser(
        name,
        (*_asks(name), _NAMES.keeper_subject(name, "read"), *asks, *_consumers(_STREAM), *replays, *again),
        (_inbox(name),),
    )


def _relay(service: str) -> NatsUser:
    """Return the user of a relay: it publishes what its service sends, and can send it again to a single reader."""
    name = relay_user(service)
    publishes = [_NAMES.log.to_wire(f"*.{route}") for route in sorted(sends(service))]
    readers = [each.name for each in SERVICES if not each.publishes]
    replays = [
        subject
        for reader in readers
        for subject in map(_NAMES.replays(reader).to_wire, (f"*.event.{service}.*", f"*.{END}"))
    ]
    answers = [_inbox(each.name) for each in SERVICES if not each.publishes or service in senders_to(each.name)]
    return NatsUser(
        name,
        (*publishes, *_asks(name), *replays, *answers),
        (
            _NAMES.replay_control(service),
            _NAMES.sent_control(service),
            _NAMES.rows_control(service),
            _inbox(name),
        ),
    )


def _keeper() -> NatsUser:
    """Return the user of the keeper: it makes streams and consumers, and answers users. It publishes to no stream."""
    readers = [each.name for each in SERVICES if not each.publishes]
    return NatsUser(
        KEEPER,
        (
            *(f"{_API}.STREAM.{what}.{_STREAM}" for what in ("INFO", "CREATE", "UPDATE", "MSG.GET")),
            f"{_API}.CONSUMER.CREATE.{_STREAM}.>",
            *(
                f"{_API}.STREAM.{what}.{_NAMES.replays(reader).stream}"
                for reader in readers
                for what in ("CREATE", "DELETE")
            ),
            "_INBOX.>",
        ),
        (_NAMES.keeper_subject("*", ">"), _inbox(KEEPER)),
    )


def _asks(user: str) -> tuple[str, ...]:
    """Return the subjects of the questions where the stream begins and ends, and what identifies a message."""
    return f"{_API}.STREAM.INFO.{_STREAM}", _NAMES.keeper_subject(user, "mark")


def _consumers(stream: str) -> tuple[str, ...]:
    """Return the subjects to read from a stream's consumers and to remove them. Their names are secret."""
    return f"{_API}.CONSUMER.MSG.NEXT.{stream}.*", f"{_API}.CONSUMER.DELETE.{stream}.*"


def _own_stream(stream: str) -> tuple[str, ...]:
    return f"{_API}.CONSUMER.CREATE.{stream}", *_consumers(stream)


def _inbox(user: str) -> str:
    return f"_INBOX.{user}.>"


def _publishes(service: str) -> bool:
    return any(each.publishes for each in SERVICES if each.name == service)
