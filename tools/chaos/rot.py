"""Damages the files of a nats-server that does not run."""

from pathlib import Path

from kernel.topology import FTGO
from shared.adapters.nats.names import NatsNames

_STREAM = NatsNames(FTGO).log.stream
_INTO_MESSAGE = 60
"""A message is damaged this many bytes after the start of its subject: somewhere in its headers."""


def blocks(store: Path) -> list[Path]:
    """The files that have the stream's messages, the oldest first."""
    return sorted(store.glob(f"**/{_STREAM}/msgs/*.blk"), key=lambda path: int(path.stem))


def positions_of(block: Path, subject: str) -> list[int]:
    """Where in a file messages begin whose subjects start with this one."""
    data, found, at = block.read_bytes(), [], -1
    while (at := data.find(subject.encode(), at + 1)) >= 0:
        found.append(at)
    return found


def flip_bit(block: Path, message: int) -> None:
    """Change a message's content by one bit. Without its index the server loses everything after it in the file;
    with the index it loses only this message."""
    data = bytearray(block.read_bytes())
    data[message + _INTO_MESSAGE] ^= 0x10
    block.write_bytes(data)


def forget_index(store: Path) -> None:
    """Delete the index, so that the server reads all messages again when it starts."""
    for index in store.glob(f"**/{_STREAM}/msgs/index.db"):
        index.unlink()


def cut(block: Path, message: int) -> None:
    """Cut off a file at a message, which is lost with all that follows."""
    with block.open("rb+") as file:
        file.truncate(message + _INTO_MESSAGE)
