"""The web application that serves a service's API."""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import PlainTextResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.core.context import Cause, handling
from shared.core.ids import new_id
from shared.telemetry import metrics, traces
from shared.web import error_handlers, problems
from shared.web.documents import Api
from shared.web.gate import Gate, Visit
from shared.web.hardening import SecurityHeaders
from shared.web.probes import Readiness, probes

MAX_BODY = 1 << 20
BODY_SECONDS = 60.0
"""How many seconds a client may take to send a body."""
_MAX_DRAINED_BYTES = 16 << 20
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_OPERATIONAL = ("/ping", "/readyz", "/metrics", "/docs", "/openapi.json")


def create_app(
    title: str,
    description: str,
    router: APIRouter,
    readiness: Readiness,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
    gate: Gate | None = None,
    tags: Mapping[str, str] | None = None,
    contact: str = "The maintainers",
) -> FastAPI:
    """Return the service's API with /ping, /readyz, /metrics, /docs and /openapi.json."""
    app = Api(
        title=title,
        description=description,
        tags=tags or {},
        contact=contact,
        version="1.0.0",
        lifespan=lifespan,
        generate_unique_id_function=_operation_id,
        redirect_slashes=False,  # a path with one more slash is another path; and a redirect would trust `Host`
        separate_input_output_schemas=False,
        telemetry={"tracing": traces.exporting(), "metrics": False, "logs": False},
    )
    error_handlers.install(app)
    app.include_router(router)
    app.include_router(_operations(readiness))
    app.add_middleware(RequestMiddleware, gate=gate or Gate())
    app.add_middleware(SecurityHeaders)
    return app


class HealthAnswer(BaseModel):
    """The service is well."""

    status: str = Field(examples=["ready"])


_DOCUMENTED: dict[str, dict[str, Any]] = {
    "/ping": {"response_model": HealthAnswer},
    "/readyz": {"response_model": HealthAnswer, "responses": problems.documented(problems.NOT_READY)},
    "/metrics": {
        "response_class": PlainTextResponse,
        "responses": {200: {"content": {"text/plain": {"example": "placed_orders_total 3.0\n"}}}},
    },
}


def _operations(readiness: Readiness) -> APIRouter:
    router = APIRouter(tags=["operations"])
    for probe in probes(readiness):
        router.add_api_route(
            probe.path,
            probe.endpoint,
            summary=probe.summary,
            description=probe.description,
            **_DOCUMENTED[probe.path],
        )
    return router


def _operation_id(route: APIRoute) -> str:
    return route.name


class RequestMiddleware:
    """Adds to each request its three ids, measures it, and limits the number of requests and the size of bodies."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _operational(scope["path"]):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        id_ = new_id()
        correlation_id = _plain(headers.get("x-correlation-id")) or id_
        started = time.perf_counter()
        status = 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                added = MutableHeaders(raw=message["headers"])
                added["X-Correlation-Id"] = correlation_id
                added["X-Request-Id"] = id_
                added["Cache-Control"] = "no-store"
                if self._gate.leaving:
                    added["Connection"] = "close"
            await send(message)

        traceparent = traces.current_traceparent() or _plain(headers.get("traceparent"))
        with handling(Cause(correlation_id, id_, _plain(headers.get("x-request-id")) or id_, traceparent)):
            if refusal := self._gate.refusal():
                await problems.problem(refusal)(scope, receive, answer)
            elif int(headers.get("content-length") or 0) > MAX_BODY:
                if "expect" not in headers:  # a client that waits for "100 Continue" has sent nothing
                    await drain_body(receive)
                await problems.problem(problems.BODY_TOO_LARGE)(scope, receive, answer)
            else:
                with self._gate.passing() as visit:
                    await self._answered(scope, _bounded(receive, visit), answer)
        duration = time.perf_counter() - started
        metrics.HTTP.labels(scope["method"], _route_of(scope), str(status)).observe(duration)

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a bug here: further out, the answer would lack the ids, and the metrics this request."""
        begun = False

        async def noticed(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noticed)
        except Exception as error:
            if begun:
                raise
            await problems.unforeseen(error)(scope, receive, send)


def _operational(path: str) -> bool:
    return path in _OPERATIONAL or path.startswith("/docs/")


def _route_of(scope: Scope) -> str:
    route: Any = scope.get("route")
    return str(getattr(route, "path", "unmatched"))


def _plain(value: str | None) -> str | None:
    """Return a client's id if it is short and harmless, else None: it is logged and sent on."""
    return value if value and _ID.fullmatch(value) else None


def _bounded(receive: Receive, visit: Visit) -> Receive:
    """Wrap `receive` so that it ends a body that is too long, takes too long, or for which there is no room.

    The length need not be declared: it is measured.
    """
    size = 0
    complete = False
    until = asyncio.get_running_loop().time() + BODY_SECONDS

    async def bounded() -> Message:
        nonlocal size, complete
        try:
            async with asyncio.timeout_at(None if complete else until):
                message = await receive()
        except TimeoutError:
            raise problems.RequestRefused(problems.BODY_TOO_SLOW, {"Connection": "close"}) from None
        complete = not message.get("more_body", False)
        size += len(message.get("body", b""))
        if not visit.has_room_for(size):
            raise problems.RequestRefused(problems.OVERLOADED, {"Retry-After": "1"})
        if size > MAX_BODY:
            if not complete:
                await drain_body(receive)
            raise problems.RequestRefused(problems.BODY_TOO_LARGE)
        return message

    return bounded


async def drain_body(receive: Receive) -> None:
    """Read the rest of a body: a client that is still sending when the connection is closed does not see the answer."""
    size = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(BODY_SECONDS):
            while size < _MAX_DRAINED_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
