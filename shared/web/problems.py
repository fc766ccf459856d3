"""Errors over HTTP: problem documents (RFC 9457), and how they are documented in OpenAPI."""

from collections import defaultdict
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from shared.core.errors import (
    AlreadyExists,
    DomainError,
    FailedPrecondition,
    IdempotencyKeyReused,
    InvalidArgument,
    LimitReached,
    NotFound,
    TechnicalFault,
)
from shared.telemetry.logs import Sparingly
from shared.web.gate import OVERLOADED

log = structlog.get_logger(__name__)
_unserved = Sparingly()

MEDIA_TYPE = "application/problem+json"

_STATUSES: dict[str, int] = {
    NotFound.kind: 404,
    AlreadyExists.kind: 409,
    InvalidArgument.kind: 400,
    FailedPrecondition.kind: 409,
    IdempotencyKeyReused.kind: 422,
    LimitReached.kind: 422,
}
_TITLES = {
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    408: "Request Timeout",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    422: "Unprocessable Content",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
_EXAMPLES = {
    400: "the body is not JSON",
    413: "the body is larger than 1 MiB",
    422: "path.id: is not a UUID",
    503: "the service can't reach what it needs: try again",
}


class BodyTooLarge(HTTPException):
    """The request's body is larger than the limit."""

    def __init__(self) -> None:
        super().__init__(413, _EXAMPLES[413])


class BodyTooSlow(HTTPException):
    """The request's body did not arrive completely in time."""

    def __init__(self) -> None:
        super().__init__(408, "the body took too long", {"Connection": "close"})


class NoRoomForBody(HTTPException):
    """Other large bodies take all the room that there is for bodies at the moment."""

    def __init__(self) -> None:
        super().__init__(503, OVERLOADED, {"Retry-After": "1"})


class Problem(BaseModel):
    """What went wrong: a problem document as RFC 9457 describes it."""

    type: str = Field("about:blank", description="Kind of problem; `about:blank`: the status says it.")
    title: str = Field(description="The status in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong with this request.")
    message: str = Field(description="The same text as `detail`.")


TOO_LARGE = _EXAMPLES[413]
HEAD_TOO_LARGE = "the request line and the headers are larger than 32 KiB"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_MAX_NAMED = 10


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return the response for an error."""
    content = Problem(title=_TITLES.get(status, "Error"), status=status, detail=detail, message=detail)
    return JSONResponse(content.model_dump(), status, headers, MEDIA_TYPE)


def unavailable(detail: str) -> JSONResponse:
    """Return the 503 response for a lack that is probably short: the client should try again."""
    return problem(503, detail, {"Retry-After": "1"})


def problems(
    *errors: type[DomainError], body: bool = False, invalid: str = _EXAMPLES[422]
) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI `responses` of an operation that may refuse with those errors.

    `body` says whether it takes a body, `invalid` is the text for a request that does not match the schema.
    """
    texts: dict[int, list[str]] = defaultdict(list)
    for error in errors:
        texts[_STATUSES[error.kind]].append(error.text)
    texts[422].append(invalid)
    for status in (400, 413, 503) if body else (413, 503):
        texts[status].append(_EXAMPLES[status])
    return {status: documented(status, *messages) for status, messages in sorted(texts.items())}


def also(responses: dict[int | str, dict[str, Any]], error: type[DomainError]) -> dict[int | str, dict[str, Any]]:
    """Return `responses` with one more error that the operation may refuse with."""
    status = _STATUSES[error.kind]
    known = responses[status]["content"][MEDIA_TYPE]["examples"] if status in responses else {}
    return {**responses, status: documented(status, *known, error.text)}


def unforeseen(error: Exception) -> JSONResponse:
    """Return the response for a bug. The error is logged, and not shown to the client."""
    log.error("request failed", exc_info=error)
    return problem(500, "the service failed to handle the request")


def install(app: FastAPI) -> None:
    """Answer every expected error of the app with a problem document."""

    @app.exception_handler(DomainError)
    async def refused(_request: Request, error: DomainError) -> JSONResponse:
        return problem(_STATUSES[error.kind], error.message)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        errors = error.errors()
        _let_go_of_body(error)
        if any(found["type"] == "json_invalid" for found in errors):
            return problem(400, _EXAMPLES[400])
        named = [f"{_place(found['loc'])}: {found['msg'].removeprefix('Value error, ')}" for found in errors]
        if len(named) > _MAX_NAMED:  # keep the answer readable: a list of a thousand items can have thousands of errors
            named[_MAX_NAMED:] = [f"and {len(named) - _MAX_NAMED} more"]
        return problem(422, "; ".join(named))

    @app.exception_handler(TechnicalFault)
    async def failed(_request: Request, error: TechnicalFault) -> JSONResponse:
        if times := _unserved.now():
            log.warning("requests could not be served", times=times, error=repr(error))
        return unavailable(_EXAMPLES[503])

    @app.exception_handler(HTTPException)
    async def of_the_framework(request: Request, error: HTTPException) -> JSONResponse:
        _let_go_of_body(error)
        # FastAPI answers 400 to bodies that are not UTF-8, are nested too deep or have numbers of thousands of digits.
        detail = _EXAMPLES[400] if error.status_code == 400 else error.detail
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(_allowed(request))  # the framework names only the methods of one route
        return problem(error.status_code, detail, headers)


def _let_go_of_body(error: Exception) -> None:
    """Remove the references from an error to the request's body.

    The stack frames of the error hold the whole body and are held by the error: such a cycle would wait for the garbage
    collector, which counts objects, not bytes.
    """
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


def documented(status: int, *messages: str) -> dict[str, Any]:
    """Return the OpenAPI description of a problem response. `documents.Api` adds the schema."""

    def example(message: str) -> dict[str, Any]:
        content = Problem(title=_TITLES[status], status=status, detail=message, message=message)
        return {"value": content.model_dump()}

    return {
        "description": "; ".join(f"`{message}`" for message in messages),
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {message: example(message) for message in messages},
            }
        },
    }
