"""Log lines, with what clients would like to write into them."""

import json
import subprocess
import sys

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


def test_nobody_writes_a_line_of_his_own_for_people() -> None:
    first, second, third, fourth, *traceback = logged("console").removesuffix("\n").split("\n")
    assert all(line.isprintable() for line in (first, second, third, fourth, *traceback))
    assert "it failed" in fourth
    assert traceback[-1].startswith("  ValueError: a") or traceback[-2].startswith("  ValueError: a")
    assert all(line.startswith("  ") for line in traceback)
