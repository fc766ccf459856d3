"""Log lines, with what clients would like to write into them."""

import json
import subprocess
import sys

import pytest

FORGED = 'a\nlevel=error\r\x1b[31m","level":"critical\u2028\x85'

# In a process of its own: logging is configured for a process as a whole.
PROGRAM = """
import logging, sys
import structlog
from shared.telemetry.logs import configure_logging
configure_logging("order", "info", sys.argv[1])
structlog.get_logger().info("hello", value=sys.argv[2])
structlog.get_logger().info(sys.argv[2])
logging.getLogger("library").warning("it says %s", sys.argv[2])
"""


def logged(format_: str) -> str:
    done = subprocess.run([sys.executable, "-c", PROGRAM, format_, FORGED], check=True, capture_output=True, text=True)
    return done.stdout


def test_nobody_writes_a_line_of_his_own_for_machines() -> None:
    lines = [json.loads(line) for line in logged("json").splitlines()]
    assert [line["level"] for line in lines] == ["info", "info", "warning"]
    assert [line["message"] for line in lines] == ["hello", FORGED, f"it says {FORGED}"]
    assert lines[0]["value"] == FORGED


@pytest.mark.parametrize("character", ["\r", "\x1b", "\u2028", "\x85"])
def test_nobody_writes_a_line_of_his_own_for_people(character: str) -> None:
    output = logged("console")
    assert character not in output
    assert len(output.splitlines()) == 3
