"""What those who run a process ask of it: `/ping`, `/readyz` and `/metrics`. The same for services and relays."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.web.hardening import SecurityHeaders
from shared.web.problems import NOT_READY, problem


class Readiness(Protocol):
    """Knows whether a process can work, and what waits for an operator."""

    async def reasons(self) -> Sequence[str]:
        """Return why it can't work; empty when it can."""
        ...

    async def measure(self) -> None:
        """Set the metrics that are only counted when somebody asks, as far as they can be counted now."""
        ...


@dataclass(frozen=True, slots=True)
class Probe:
    """A path, what it answers, and both in words for an API's document."""

    path: str
    endpoint: Callable[[Request], Awaitable[Response]]
    summary: str
    description: str


def probes(readiness: Readiness) -> list[Probe]:
    """Return the probes of a process."""

    async def ping(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(_: Request) -> Response:
        reasons = await readiness.reasons()
        return problem(NOT_READY, "; ".join(reasons)) if reasons else JSONResponse({"status": "ready"})

    async def prometheus(_: Request) -> Response:
        await readiness.measure()
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return [
        Probe("/ping", ping, "Is the process alive?", "For liveness probes: looks at nothing but the process itself."),
        Probe(
            "/readyz",
            readyz,
            "Can the process work?",
            "For readiness probes: whether database and broker can be reached, and the migrations are applied.",
        ),
        Probe("/metrics", prometheus, "Metrics for Prometheus", "In the text format of Prometheus."),
    ]


def probes_app(readiness: Readiness) -> Starlette:
    """Return an application of nothing but the probes, for a process without an API."""
    routes = [Route(probe.path, probe.endpoint) for probe in probes(readiness)]
    return Starlette(routes=routes, middleware=[Middleware(SecurityHeaders)])
