"""The process that our programs are forked from: `python -m tools.system.fork_server SOCKET`. `forks` talks to it.

It imports only what all programs share: a service's own modules register messages and metrics that other services must
not have. No thread may run and no event loop may exist here: neither survives a fork.

It reads requests from a socket that it has inherited, and answers there; each is a line of JSON. A request is a
program: `{id, name, argv, env, cwd, log, orphan_signal}`. The answer is `{id, pid}`, or `{id, error}` when the system
can't fork. `{pid, status}` says how a fork has ended, a signal as a negative number.
"""

import contextlib
import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
from typing import Any

import alembic.command
import asyncpg
import nats
import opentelemetry.sdk.trace
import psycopg2.extras
import setproctitle
import sqlalchemy.dialects.postgresql.asyncpg
import uuid_utils
import uvicorn.protocols.http.httptools_impl
import uvloop

import shared.adapters.nats.broker
import shared.adapters.postgres.database
import shared.host.container
import shared.relay.relay
from tools.system.process import dies_with_parent

__all__ = ["alembic", "asyncpg", "nats", "opentelemetry", "psycopg2", "shared", "sqlalchemy", "uvicorn", "uvloop"]

STOPS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
"""Signals that whoever stops the system may send to all its processes at once: systemd does. This one ends last."""
_RECEIVE_BYTES = 1 << 16


def serve(connection: socket.socket) -> dict[str, Any]:
    """Fork on each request. Returns in each fork, with the request; never returns in the server itself."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    woken, waker = socket.socketpair()
    woken.setblocking(False)
    waker.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # with a handler, the end of a fork is written to the waker
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    begun = b""
    while True:
        ready, _, _ = select.select([connection, woken], [], [])
        if woken in ready:
            woken.recv(_RECEIVE_BYTES)
            _tell_who_ended(connection)
        if connection in ready:
            try:
                received = connection.recv(_RECEIVE_BYTES)
            except ConnectionError:
                received = b""
            if not received:
                os._exit(0)  # the client has gone, and the forks end with this process
            *lines, begun = (begun + received).split(b"\n")
            for line in lines:
                request: dict[str, Any] = json.loads(line)
                if forked(request, connection):
                    signal.set_wakeup_fd(-1)
                    for each in (connection, woken, waker):
                        each.close()
                    return request


def forked(request: dict[str, Any], connection: socket.socket) -> bool:
    """Fork, and answer the request; returns true in the fork. Forking can fail for lack of processes or memory."""
    server = os.getpid()
    try:
        pid = os.fork()
    except OSError as failure:
        _tell(connection, id=request["id"], error=failure.strerror)
        return False
    if pid == 0:
        os.setpgid(0, 0)
        dies_with_parent(server, request["orphan_signal"])
        return True
    with contextlib.suppress(OSError):  # the fork may have ended
        os.setpgid(pid, pid)  # in the parent too: the receiver of the answer may signal the group at once
    _tell(connection, id=request["id"], pid=pid)
    return False


def _tell_who_ended(connection: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _tell(connection, pid=pid, status=os.waitstatus_to_exitcode(status))


def _tell(connection: socket.socket, **answer: object) -> None:
    try:
        connection.sendall(json.dumps(answer).encode() + b"\n")
    except OSError:
        os._exit(0)


def become(request: dict[str, Any]) -> None:
    """Run as `python -m module arguments…` would."""
    setproctitle.setproctitle(f"ftgo: {request['name']}")  # before the environment: the title is stored next to it
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _redirect(request["log"])
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    uuid_utils.reseed_rng()  # otherwise all forks would create the same ids
    module = request["argv"][0]
    sys.argv = request["argv"]
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _redirect(log: str) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(output)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def main() -> None:
    """Serve requests, and run the requested program in each fork."""
    setproctitle.setproctitle("ftgo: fork server")
    gc.collect()
    gc.freeze()  # otherwise each fork's first collection would write to all these pages, and so copy them
    become(serve(socket.socket(fileno=int(sys.argv[1]))))


if __name__ == "__main__":
    main()
