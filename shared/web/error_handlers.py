"""What a FastAPI application does with errors: every one that it foresees becomes a problem document."""

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Match

from shared.core.errors import DomainError, TechnicalFault
from shared.processing.command_queue import Overloaded, Stopped
from shared.telemetry.logs import Sparingly
from shared.web.problems import (
    BODY_NOT_JSON,
    INVALID_REQUEST,
    OVERLOADED,
    STOPPING,
    UNAVAILABLE,
    kind_of,
    problem,
)

log = structlog.get_logger(__name__)
_unserved = Sparingly()

_KINDS = {Overloaded: OVERLOADED, Stopped: STOPPING}
"""Faults that say more than that something is away."""
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_MAX_NAMED = 10


def install(app: FastAPI) -> None:
    """Make every error that the application foresees a problem document."""

    @app.exception_handler(DomainError)
    async def refused(_request: Request, error: DomainError) -> JSONResponse:
        return problem(kind_of(error), error.message)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        errors = error.errors()
        _let_go_of_body(error)
        if any(found["type"] == "json_invalid" for found in errors):
            return problem(BODY_NOT_JSON)
        named = [f"{_place(found['loc'])}: {found['msg'].removeprefix('Value error, ')}" for found in errors]
        if len(named) > _MAX_NAMED:  # an answer is for reading: a list of a thousand items can have thousands
            named[_MAX_NAMED:] = [f"and {len(named) - _MAX_NAMED} more"]
        return problem(INVALID_REQUEST, "; ".join(named))

    @app.exception_handler(TechnicalFault)
    async def failed(_request: Request, error: TechnicalFault) -> JSONResponse:
        if times := _unserved.now():
            log.warning("requests could not be served", times=times, error=repr(error))
        return problem(_KINDS.get(type(error), UNAVAILABLE))

    @app.exception_handler(HTTPException)
    async def of_the_framework(request: Request, error: HTTPException) -> JSONResponse:
        _let_go_of_body(error)
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(_allowed(request))  # the framework names the methods of one route only
        return problem(kind_of(error), headers=headers)


def _let_go_of_body(error: Exception) -> None:
    """The frames that an error was raised in have the whole body, and hold the error in turn: such a circle would wait
    for the garbage collector, which counts objects and not their bytes."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    if isinstance(error, RequestValidationError):
        error.body = None


def _allowed(request: Request) -> list[str]:
    def found(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    return [method for method in _METHODS if found(method)]


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part)[:100] for part in location)
