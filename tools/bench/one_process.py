"""All services and the relay on one event loop, to compare separate processes with. Not part of the product.

`python -m tools.bench.one_process` runs them, with the environments in the variable `VARIABLE`. It ends when it is
killed.
"""

import asyncio
import importlib
import json
import os
from collections.abc import Coroutine, Mapping
from contextlib import ExitStack
from typing import Any

import httpx

from cdc.nats_users import readable_routes
from kernel.topology import BY_NAME, FTGO, SERVICES
from shared.host import relays
from shared.host.event_loop import new_event_loop
from shared.host.migrations import migrate
from shared.host.service import serve
from shared.telemetry.logs import configure_logging
from shared.web.server import Server, listening
from tools.system.process import Program
from tools.system.supervisor import Group, Part, http_probe
from tools.system.system import RELAY, System

MODULE = "tools.bench.one_process"
VARIABLE = "FTGO_BENCH_PROGRAMS"
PART = "everything"
_SHUTDOWN_SECONDS = 1.0


class OneProcess(System):
    """The embedded system, with one program of this module instead of eight."""

    def groups(self, client: httpx.AsyncClient) -> list[Group]:
        """The parts of the system in the order of their start: PostgreSQL, NATS, and the one program."""
        postgres, nats, *_ = super().groups(client)
        ports = [self.relay_port(), *(self.port(each) for each in SERVICES)]
        probes = [http_probe(client, f"{self.url(port)}/readyz") for port in ports]

        async def all_ready() -> str:
            return "; ".join([reason for probe in probes if (reason := await probe())])

        part = Part(PART, self._everything, ports[0], all_ready, self.url(ports[0]), self.settings.host)
        return [postgres, nats, Group([part])]

    def _everything(self) -> Program:
        relay = self.relay_program([each for each in SERVICES if each.publishes])
        programs = {RELAY: relay} | {each.name: self.service_program(each) for each in SERVICES}
        variables = {
            name: {key: value for key, value in program.env.items() if key.startswith("FTGO_")}
            for name, program in programs.items()
        }
        environment = {**os.environ, VARIABLE: json.dumps(variables)}
        return Program(PART, (*relay.argv[:2], MODULE), environment, relay.cwd)


def _service(name: str, stack: ExitStack) -> Coroutine[Any, Any, int]:
    """A service, set up with the present environment."""
    container = importlib.import_module(f"{name}.main").container()
    settings = container.settings()
    migrate(BY_NAME[name], str(settings.migrations_url))  # here, as alembic can't migrate twice at once in one process
    container.service.add_kwargs(migrate=lambda: None)
    listener = stack.enter_context(listening(settings.host, settings.port))
    return serve((Server(container.app()), listener), None, container.service(), container.gate(), 0, _SHUTDOWN_SECONDS)


def _relay(stack: ExitStack) -> Coroutine[Any, Any, int]:
    """The relay and the stream's keeper, set up with the present environment."""
    publishing = tuple(service for service in SERVICES if service.publishes)
    container = relays.RelayContainer(application=FTGO, services=publishing, reads=readable_routes(), keeps_stream=True)
    settings = container.settings()
    listener = stack.enter_context(listening(settings.host, settings.port))
    return relays.serve(
        container.keeper(), container.relays(), container.replays(), container.app(), listener, _SHUTDOWN_SECONDS
    )


async def _all(running: list[Coroutine[Any, Any, int]]) -> None:
    await asyncio.gather(*running)


def main() -> None:
    """Run until it is killed."""
    programs: Mapping[str, Mapping[str, str]] = json.loads(os.environ.pop(VARIABLE))
    configure_logging(PART, "info", "json")
    with ExitStack() as stack, asyncio.Runner(loop_factory=new_event_loop) as runner:
        running = []
        for name, variables in programs.items():
            os.environ.update(variables)
            running.append(_relay(stack) if name == RELAY else _service(name, stack))
        runner.run(_all(running))


if __name__ == "__main__":
    main()
