"""Asks this container's HTTP server whether it can work: `python -S -m shared.host.healthcheck LOANS_PORT`.

The argument names the environment variable that has the port. The image has no curl. This runs every few seconds in
every container, so it imports next to nothing.
"""

import os
import socket
import sys


def check(port: int, seconds: float = 4.0) -> str:
    """Return why /readyz doesn't answer 200; empty when it does."""
    try:
        with socket.create_connection(("127.0.0.1", port), seconds) as connection:
            connection.sendall(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")
            answer = b""
            while received := connection.recv(65536):
                answer += received
    except OSError as error:
        return f"no answer: {error}"
    head, _, body = answer.partition(b"\r\n\r\n")
    return "" if head.split(b" ", 2)[1:2] == [b"200"] else (body or head or b"an empty answer").decode(errors="replace")


if __name__ == "__main__":
    sys.exit(check(int(os.environ[sys.argv[1]])) or 0)
