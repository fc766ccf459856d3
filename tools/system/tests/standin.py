"""Stands in for a service: `python standin.py PORT NAME FOLDER`. Its behaviour is steered by files in FOLDER.

It appends "+NAME" to FOLDER/events when it starts and "-NAME" when it's asked to end. `NAME.unready` makes /readyz
answer 503, `NAME.stubborn` makes it ignore SIGTERM, `NAME.broken` makes it fail at once.
"""

import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

port, name, folder = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])


def note(text: str) -> None:
    with (folder / "events").open("a") as file:
        file.write(text + "\n")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        unready = self.path == "/readyz" and (folder / f"{name}.unready").exists()
        self.send_response(503 if unready else 200)
        self.end_headers()
        self.wfile.write(b'{"detail": "no database"}' if unready else b"{}")

    def log_message(self, *_: object) -> None:
        pass


def end(*_: object) -> None:
    if not (folder / f"{name}.stubborn").exists():
        note(f"-{name}")
        threading.Thread(target=server.shutdown).start()


if (folder / f"{name}.broken").exists():
    print("it is broken")
    raise SystemExit(3)
server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
signal.signal(signal.SIGTERM, end)
note(f"+{name}")
print('{"level": "error", "message": "an error", "error": "of ' + name + '"}', flush=True)
server.serve_forever()
