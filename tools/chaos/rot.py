"""Damages the files of a nats-server that does not run."""

from pathlib import Path

from kernel.topology import FTGO
from shared.adapters.nats.names import NatsNames

_STREAM = NatsNames(FTGO).log.stream
_INTO_MESSAGE = 60
"""Bytes behind the beginning of its subject at which a message is damaged: somewhere in its headers."""


def blocks(store: Path) -> list[Path]:
    """The files that have the stream's messages, the oldest first."""
    return sorted(store.glob(f"**/{_STREAM}/msgs/*.blk"), key=lambda path: int(path.stem))


def positions_of(block: Path, subject: str) -> list[int]:
    """Where the messages of a subject begin in a file, all of those included whose subjects begin so."""
    data, found, at = block.read_bytes(), [], -1
    while (at := data.find(subject.encode(), at + 1)) >= 0:
        found.append(at)
    return found


def flip_bit(block: Path, message: int) -> None:
    """Change a message's content by one bit. Without its index the server gives up all that is behind it in the file,
    with the index only this message."""
    data = bytearray(block.read_bytes())
    data[message + _INTO_MESSAGE] ^= 0x10
    block.write_bytes(data)


def forget_index(store: Path) -> None:
    """Have the server read all messages anew when it starts."""
    for index in store.glob(f"**/{_STREAM}/msgs/index.db"):
        index.unlink()


def cut(block: Path, message: int) -> None:
    """Lose what is in a file from a message on."""
    with block.open("rb+") as file:
        file.truncate(message + _INTO_MESSAGE)
