"""The health check of the containers, as it is run there."""

import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from tools.system.process import free_port
from tools.system.system import ROOT


class Handler(BaseHTTPRequestHandler):
    """Answers `status`."""

    status = 200

    def do_GET(self) -> None:
        """Answer."""
        assert self.path == "/readyz"
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b'{"detail": "NATS: no answer"}')

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Handler) as running:
        Thread(target=running.serve_forever, daemon=True).start()
        yield running.server_port
        running.shutdown()


def healthcheck(port: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-S", "-m", "shared.host.healthcheck", "FTGO_PORT"],
        env={**os.environ, "FTGO_PORT": str(port)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_what_can_work_is_healthy(port: int) -> None:
    checked = healthcheck(port)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_what_cannot_work_says_why(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "status", 503)
    checked = healthcheck(port)
    assert checked.returncode == 1
    assert "NATS: no answer" in checked.stderr


def test_what_does_not_answer_is_not_healthy() -> None:
    checked = healthcheck(free_port())
    assert checked.returncode == 1
    assert "no answer" in checked.stderr
