"""The web application that every service serves its API with."""

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from fastapi import APIRouter, FastAPI, Response
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.core.context import Cause, handling
from shared.core.ids import new_id
from shared.telemetry import metrics
from shared.telemetry.traces import current_traceparent, request_span
from shared.web import problems

MAX_BODY = 1 << 20
_OPERATIONAL = ("/ping", "/readyz", "/metrics", "/docs", "/openapi.json")


class Readiness(Protocol):
    """Says whether a service can work."""

    async def reasons(self) -> list[str]:
        """Why it can't; empty when it can."""
        ...


def create_app(
    title: str,
    description: str,
    router: APIRouter,
    readiness: Readiness,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]],
) -> FastAPI:
    """The service's API with /ping, /readyz, /metrics, /docs and /openapi.json."""
    app = FastAPI(
        title=title,
        description=description,
        version="1.0.0",
        lifespan=lifespan,
        redoc_url=None,
        generate_unique_id_function=_operation_id,
        separate_input_output_schemas=False,
    )
    problems.install(app)
    app.include_router(router)
    app.include_router(_operations(readiness))
    app.add_middleware(RequestMiddleware)
    return app


def _operations(readiness: Readiness) -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.get("/ping", summary="Is the process alive?")
    async def ping() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/readyz", summary="Can the service work?", responses=problems.problems())
    async def readyz() -> Any:
        reasons = await readiness.reasons()
        return problems.problem(503, "; ".join(reasons)) if reasons else {"status": "ready"}

    @router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
    async def prometheus() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router


def _operation_id(route: APIRoute) -> str:
    return route.name


class RequestMiddleware:
    """Around each request: its three ids, its span, its time, and the limit on its body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _OPERATIONAL:
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
                added["X-Content-Type-Options"] = "nosniff"
                added["Cache-Control"] = "no-store"
            await send(message)

        with request_span(f"{scope['method']} {scope['path']}", headers.get("traceparent")) as span:
            cause = Cause(correlation_id, id_, _plain(headers.get("x-request-id")) or id_, current_traceparent())
            with handling(cause):
                if int(headers.get("content-length") or 0) > MAX_BODY:
                    await problems.problem(413, problems.TOO_LARGE)(scope, receive, answer)
                else:
                    await self._answered(scope, _bounded(receive), answer)
            route = _route_of(scope)
            span.update_name(f"{scope['method']} {route}")
            span.set_attributes({"http.request.method": scope["method"], "http.route": route})
            span.set_attribute("http.response.status_code", status)
        metrics.HTTP.labels(scope["method"], route, str(status)).observe(time.perf_counter() - started)

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A bug is answered here: further out, the answer would lack the ids and the metrics the request."""
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


def _route_of(scope: Scope) -> str:
    route: Any = scope.get("route")
    return str(getattr(route, "path", "unmatched"))


def _plain(value: str | None) -> str | None:
    """A client's id, if it is one: it is logged and sent on, so it may not be long or contain anything odd."""
    if value and len(value) <= 128 and all(character.isalnum() or character in "-_.:" for character in value):
        return value
    return None


def _bounded(receive: Receive) -> Receive:
    """Ends a body that turns out longer than it may be, though its length was not declared."""
    size = 0

    async def bounded() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > MAX_BODY:
            raise problems.BodyTooLarge
        return message

    return bounded
