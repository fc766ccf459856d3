"""Log lines, with what clients would like to write into them, and where they can't be written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FORGED = 'a\nlevel=error\r\x1b[31m","level":"critical\u2028\x85\u202e\u200b\x9b2J'
SHORT = "\x1b[31m\x9b"

# In a process of its own: logging is configured for a process as a whole.
PROGRAM = """
import logging, sys
import structlog
from shared.telemetry.logs import configure_logging
configure_logging("order", "info", sys.argv[1])
structlog.get_logger().info("hello", value=sys.argv[2], short=sys.argv[3])
structlog.get_logger().info(sys.argv[2])
logging.getLogger("library").warning("it says %s", sys.argv[2])
try:
    raise ValueError(sys.argv[2])
except ValueError:
    structlog.get_logger().exception("it failed")
"""


def logged(format_: str) -> str:
    command = [sys.executable, "-c", PROGRAM, format_, FORGED, SHORT]
    return subprocess.run(command, check=True, capture_output=True).stdout.decode()


def test_nobody_writes_a_line_of_his_own_for_machines() -> None:
    lines = [json.loads(line) for line in logged("json").splitlines()]
    assert [line["level"] for line in lines] == ["info", "info", "warning", "error"]
    assert [line["message"] for line in lines] == ["hello", FORGED, f"it says {FORGED}", "it failed"]
    assert lines[0]["value"] == FORGED
    assert logged("json").replace("\n", "").isascii()


# Whoever logs goes on, whatever becomes of the line. What is said of it goes to standard error.
UNWRITABLE = """
import logging, sys
import structlog
from shared.telemetry.logs import LINES_LOST, configure_logging
configure_logging("order", "info", sys.argv[1])
structlog.get_logger().info("hello")
logging.getLogger("library").warning("hello")
structlog.get_logger().bind(relay="order").error("hello", exc_info=ValueError("no"))
print(int(LINES_LOST._value.get()), file=sys.stderr)
"""


@pytest.mark.parametrize("format_", ["json", "console"])
@pytest.mark.parametrize("output", ["full disk", "closed pipe", "none"])
def test_a_line_that_can_not_be_written_is_counted_and_nobody_elses_trouble(output: str, format_: str) -> None:
    command = [sys.executable, "-c", UNWRITABLE, format_]
    if output == "none":
        command = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    reader, writer = os.pipe()
    os.close(reader)
    with Path("/dev/full").open("wb") as full, os.fdopen(writer, "wb") as closed:
        files = {"full disk": full, "closed pipe": closed, "none": None}
        done = subprocess.run(command, stdout=files[output], stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "3\n")


UNSPEAKABLE = """
import logging, sys
import structlog
from shared.telemetry.logs import LINES_LOST, configure_logging
class Unspeakable:
    def __repr__(self): raise ValueError("no words")
    __str__ = __repr__
configure_logging("order", "info", sys.argv[1])
structlog.get_logger().info("of a client", value="\\ud800")
logging.getLogger("library").warning("of a library: %s", "\\ud800")
structlog.get_logger().info("lost", value=Unspeakable())
logging.getLogger("library").warning("lost: %s", Unspeakable())
logging.getLogger("library").warning("lost: %d", "not a number")
print(int(LINES_LOST._value.get()), file=sys.stderr)
"""


@pytest.mark.parametrize("format_", ["json", "console"])
def test_a_line_that_can_not_be_made_is_counted_and_half_a_character_is_written(format_: str) -> None:
    done = subprocess.run([sys.executable, "-c", UNSPEAKABLE, format_], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert (len(lines), done.stderr) == (2, "3\n")
    assert "of a client" in lines[0]
    assert "of a library" in lines[1]


# A limit on the size of the file takes the place of a full disk: both take a part of a line.
ROOM_AGAIN = """
import resource
import structlog
from shared.telemetry.logs import configure_logging
configure_logging("order")
log = structlog.get_logger()
def room(size): resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
log.info("first")
room(300)
log.info("torn", value="x" * 400)
log.info("lost")
room(resource.RLIM_INFINITY)
log.info("second")
log.info("third")
"""


def test_when_there_is_room_again_lines_are_whole_and_say_how_many_are_missing(tmp_path: Path) -> None:
    file = tmp_path / "order.log"
    with file.open("wb") as output:
        subprocess.run([sys.executable, "-c", ROOM_AGAIN], stdout=output, check=True)
    first, torn, *rest = file.read_text().splitlines()
    assert len(first) + len(torn) + 1 == 300
    said = [json.loads(line) for line in (first, *rest)]
    assert [line["message"] for line in said] == ["first", "second", "log lines could not be written", "third"]
    assert said[2]["lost"] == 2


def test_nobody_writes_a_line_of_his_own_for_people() -> None:
    first, second, third, fourth, *traceback = logged("console").removesuffix("\n").split("\n")
    assert all(line.isprintable() for line in (first, second, third, fourth, *traceback))
    assert "it failed" in fourth
    assert traceback[-1].startswith("  ValueError: a") or traceback[-2].startswith("  ValueError: a")
    assert all(line.startswith("  ") for line in traceback)
