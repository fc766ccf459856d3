"""What the benchmark reckons with. That it measures a running system is seen by running it."""

import asyncio
import os
import subprocess
import sys
from array import array
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from fcntl import ioctl
from pathlib import Path
from termios import FIONREAD
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from kernel.topology import SERVICES
from shared.host.provision import Database
from tools.bench.cpu import cpu_seconds, each_took
from tools.bench.figures import Latency, Spread, percentile
from tools.bench.generator import Ends
from tools.bench.http import Connections, read_head, request
from tools.bench.orders import Load, Measured, Summary
from tools.bench.plot import draw_orders
from tools.bench.running import Look, Running, batch_sizes
from tools.bench.schedule import at_rate
from tools.cli import app
from tools.system.process import LaunchError
from tools.system.system import System, SystemSettings
from tools.verify.facts import Finding

BURN = "import time\nwhile time.process_time() < 0.3: pass"


def test_a_percentile_is_a_value_that_was_measured() -> None:
    ordered = [float(each) for each in range(1, 1001)]
    shares = (0.5, 0.9, 0.99, 0.999, 1.0)
    assert [percentile(ordered, share) for share in shares] == [500, 900, 990, 999, 1000]
    assert [percentile([7.0], share) for share in shares] == [7.0] * 5


def test_latencies_are_in_milliseconds_and_need_no_order() -> None:
    latency = Latency.of([0.003, 0.001, 0.002])
    assert latency == Latency(count=3, p50=2.0, p90=3.0, p99=3.0, p99_9=3.0, max=3.0)
    assert Latency.of([]) is None


def test_a_spread_says_how_far_runs_are_apart_unless_there_was_one() -> None:
    assert str(Spread.of([300.0, 100.0, 200.0])) == "200 (100 to 300)"
    assert str(Spread.of([150.0])) == "150"


class Time:
    """A clock that goes on by sleeping only."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_an_open_loop_keeps_to_its_rate_through_a_stall() -> None:
    """What should have been sent during the stall is sent after it at once, and is late by what it waited."""
    time = Time()
    late = []

    async def run() -> None:
        async for moment in at_rate(10, 1, time.clock, time.sleep):
            late.append(round(time.now - moment, 6))
            if len(late) == 3:
                time.now += 0.45

    asyncio.run(run())
    assert late == [0, 0, 0, 0.35, 0.25, 0.15, 0.05, 0, 0, 0]
    assert time.now == pytest.approx(100.9)


def measured(number: int, a_second: float, p50: float, reads: Latency | None) -> Measured:
    """A run of a load."""
    saga = Latency(count=1, p50=p50, p90=p50, p99=p50, p99_9=p50, max=p50)
    return Measured(
        load=Load(users=1, mix=True, reads=True),
        number=number,
        a_second=a_second,
        ended={"OrderApproved": 1},
        http=saga,
        end_to_end=saga,
        reads={"order": reads, "history": None},
        cpu={"order": 1.0, "nats": a_second},
        batches={},
        memory={},
        in_all=2,
        unended=0,
        failures={},
    )


def test_a_summary_is_of_all_runs_and_says_nothing_of_what_none_has_seen() -> None:
    read = Latency.of([0.004])
    summary = Summary.of([measured(1, 30, 5, read), measured(2, 10, 7, None), measured(3, 20, 9, read)])
    assert (summary.runs, str(summary.a_second), str(summary.cpu)) == (3, "20 (10 to 30)", "21 (11 to 31)")
    assert [*summary.latencies] == ["HTTP", "saga", "order", "history"]
    assert str(summary.latencies["saga"]["p50"]) == "7 (5 to 9)"
    assert str(summary.latencies["order"]["max"]) == "4"
    assert summary.latencies["history"] == {}


def test_a_picture_has_each_load_once_also_one_that_nothing_came_of(tmp_path: Path) -> None:
    nothing = replace(measured(1, 0, 0, None), load=Load(rate=300), http=None, end_to_end=None, cpu={})
    runs = [measured(1, 30, 5, None), nothing, replace(measured(2, 20, 7, None), batches={"order: messages": 3.0})]
    draw_orders(runs, "a title", tmp_path / "orders.svg")
    picture = (tmp_path / "orders.svg").read_text()
    for said in ("a title", "answered, p50", "order: messages", "nats"):
        assert picture.count(f"<!-- {said} -->") == 1, said
    assert picture.count("<!-- 1 user -->") == 4  # below each of the four
    assert picture.count("<!-- 300 orders/s -->") == 2  # there are neither latencies nor batches


@pytest.mark.parametrize(("unrest", "findings"), [("", []), ("2 sagas", []), ("", [Finding("I4", "odd", ("7",))])])
def test_what_does_not_hold_after_a_run_fails_it(
    unrest: str, findings: list[Finding], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def when_at_rest(databases: Sequence[Database], *_: Any) -> tuple[str, list[Finding]]:
        assert {each.service.name for each in databases} == {each.name for each in SERVICES}
        return unrest, findings

    monkeypatch.setattr("tools.bench.running.when_at_rest", when_at_rest)
    system = Running(System(SystemSettings(data_dir=tmp_path)), None, None)  # type: ignore[arg-type]
    with pytest.raises(LaunchError, match=r"2 sagas|I4 odd: 7") if unrest or findings else nullcontext():
        asyncio.run(system.verify())


@pytest.mark.parametrize("then", ["child.wait()", "child.stdout.readline()"], ids=["that have ended", "that still run"])
def test_cpu_of_children_counts(then: str) -> None:
    after = "" if then == "child.wait()" else "\nprint(flush=True); time.sleep(60)"
    code = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {BURN + after!r}], stdout=subprocess.PIPE)\n"
        f"{then}; print(flush=True); input(); child.kill()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        own = psutil.Process(parent.pid).cpu_times()
        assert cpu_seconds(parent.pid) >= own.user + own.system + 0.29
        parent.communicate(b"\n")


def test_cpu_is_shared_out_in_milliseconds() -> None:
    assert each_took({"order": 1.0, "nats": 0.5}, {"order": 2.0, "nats": 0.5}, 500) == {"order": 2.0, "nats": 0.0}
    assert each_took({"order": 1.0}, {"order": 2.0}, 0) == {}


def test_batches_between_two_looks() -> None:
    before = Look(cpu={}, batches={"a": (10, 10), "b": (5, 5)}, restarts=0)
    after = Look(cpu={}, batches={"a": (40, 20), "b": (5, 5)}, restarts=0)
    assert batch_sizes(before, after) == {"a": 3.0}


def test_a_request_has_its_key_and_its_length() -> None:
    plain, keyed = request("PUT", "/x", b"{}"), request("PUT", "/x", b"{}", "one")
    assert plain.startswith(b"PUT /x HTTP/1.1\r\n")
    assert keyed.split(b"\r\n\r\n") == [plain.split(b"\r\n\r\n")[0] + b"\r\nIdempotency-Key: one", b"{}"]


def test_heads_of_answers() -> None:
    assert read_head(b"HTTP/1.1 201 Created\r\nContent-Length: 45\r\nx: y\r\n\r\n") == (201, 45)
    assert read_head(b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length:0\r\n\r\n") == (503, 0)
    for head in (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"\r\n\r\n", b"SSH-2.0 200 OK\r\n\r\n"):
        with pytest.raises(ValueError):  # noqa: PT011 - it has no text that matters
            read_head(head)


def test_a_connection_is_used_again_and_a_broken_one_is_not() -> None:
    seen = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            while head := await reader.readuntil(b"\r\n\r\n"):
                body = await reader.readexactly(read_head(b"HTTP/1.1 200 " + head)[1])
                seen.append((writer.get_extra_info("peername")[1], body))
                if body == b"break":
                    return
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))

    async def run() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            connections = Connections(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            for body in (b"one", b"two"):
                assert await connections.ask(request("POST", "/", body)) == (200, body)
            with pytest.raises(EOFError):
                await connections.ask(request("POST", "/", b"break"))
            assert await connections.ask(request("POST", "/", b"three")) == (200, b"three")
            connections.close()

    asyncio.run(run())
    assert [body for _, body in seen] == [b"one", b"two", b"break", b"three"]
    ports = [port for port, _ in seen]
    assert ports[0] == ports[1] == ports[2] != ports[3]


def test_what_the_generator_says_arrives_whole_even_if_one_listens_late() -> None:
    code = (
        "import asyncio\n"
        "from tools.bench.generator import say\n"
        "from shared.host.event_loop import new_event_loop\n"
        "with asyncio.Runner(loop_factory=new_event_loop) as runner: runner.run(asyncio.sleep(0))\n"
        "say(b'x' * 500_000)\n"
    )
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        waiting = array("i", [0])
        while waiting[0] < 1 << 16:  # as much as a pipe holds
            ioctl(child.stdout, FIONREAD, waiting)
        assert len(child.stdout.read()) == 500_000


class Published:
    """An event as NATS brings it."""

    def __init__(self, event: str, order: str) -> None:
        self.subject = f"ftgo.0.event.order.{event}"
        self.data = f'{{"order_id": "{order}"}}'.encode()


@pytest.mark.parametrize("early", [True, False], ids=["before the answer", "after the answer"])
def test_an_end_is_seen_before_and_after_one_waits_for_it(early: bool) -> None:
    async def run() -> str:
        ends = Ends()
        if early:
            await ends.note(Published("OrderRejected", "1"))  # type: ignore[arg-type]
        waiting = asyncio.create_task(ends.of("1"))
        await asyncio.sleep(0)
        await ends.note(Published("OrderApproved", "2"))  # type: ignore[arg-type]
        if not early:
            await ends.note(Published("OrderRejected", "1"))  # type: ignore[arg-type]
        return (await waiting)[0]

    assert asyncio.run(run()) == "OrderRejected"


@pytest.mark.parametrize("arguments", [["--users", "many"], ["--rates", "0"], ["--users", "", "--rates", ""]])
def test_numbers_that_make_no_sense_are_told(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, ["bench", "orders", *arguments], env=dict(os.environ))
    assert isinstance(result.exception, LaunchError)
    assert arguments[0] in str(result.exception)
