"""What the things of an application are called on a NATS server.

Only here its name is put on the wire and taken off again. Everywhere else a subject begins with the partition
(`0.event.order.OrderCreated`), and a header of the library's own with `app-`.
"""

from dataclasses import dataclass

from shared.core.application import Application
from shared.messaging.envelope import OWN_HEADER, SCHEMA_HEADER, SCHEMA_URN


@dataclass(frozen=True, slots=True)
class StreamNames:
    """A stream, and what the subjects begin with that it stores."""

    stream: str
    prefix: str

    @property
    def subjects(self) -> str:
        """All that the stream stores."""
        return f"{self.prefix}>"

    def to_wire(self, subject: str) -> str:
        """Return the subject as NATS knows it."""
        return self.prefix + subject

    def from_wire(self, subject: str) -> str:
        """Return the subject without what the whole stream has in common."""
        return subject.removeprefix(self.prefix)


class NatsNames:
    """The names of one application: of its streams, the subjects its relays and its keeper are asked on, its headers.

    `log` is the stream that all messages are published to.
    """

    def __init__(self, application: Application) -> None:
        self._name = name = application.name
        self.log = StreamNames(name.upper(), f"{name}.")
        self.partitions_key = f"{name}_partitions"
        """Where the stream's metadata has the count of its partitions."""
        self.partitions_variable = f"{application.environment_prefix}PARTITIONS"
        """The environment variable that processes take that count from."""
        self._headers = [
            (plain.encode(), wire.encode())
            for plain, wire in (
                (f"\r\n{OWN_HEADER}", f"\r\n{name}-"),
                (f"\r\n{SCHEMA_HEADER}: {SCHEMA_URN}", f"\r\n{SCHEMA_HEADER}: urn:{name}:"),
            )
        ]

    def replays(self, reader: str) -> StreamNames:
        """Return the stream for what is replayed to a reader that is built anew."""
        return StreamNames(f"{self.log.stream}_REPLAY_{reader}", f"{self._name}-replay.{reader}.")

    def keeper_subject(self, user: str, what: str) -> str:
        """Return where a user asks the keeper of the stream."""
        return f"{self._name}-keeper.{user}.{what}"

    def replay_control(self, service: str) -> str:
        """Return where the relay of a service is asked for a replay.

        It is below no stream, like all that is asked of a relay: a question that nobody hears is to be known at once.
        """
        return f"{self._name}-control.replay.{service}"

    def sent_control(self, service: str) -> str:
        """Return where the relay of a service is asked what it has sent."""
        return f"{self._name}-control.sent.{service}"

    def rows_control(self, service: str) -> str:
        """Return where the relay of a service is asked to send rows again."""
        return f"{self._name}-control.rows.{service}"

    def headers_to_wire(self, block: bytes) -> bytes:
        """Return a block of headers as NATS gets it. Values have no line breaks, so only names are changed."""
        for plain, wire in self._headers:
            block = block.replace(plain, wire)
        return block

    def headers_from_wire(self, block: bytes) -> bytes:
        """Return the inverse of `headers_to_wire`."""
        for plain, wire in self._headers:
            block = block.replace(wire, plain)
        return block
