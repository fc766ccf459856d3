"""Errors over HTTP: problem documents (RFC 9457), and how they are documented in OpenAPI."""

from collections import defaultdict
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from shared.core.errors import (
    AlreadyExists,
    DomainError,
    FailedPrecondition,
    IdempotencyKeyReused,
    InvalidArgument,
    NotFound,
    TechnicalFault,
)

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"

_STATUSES: dict[str, int] = {
    NotFound.kind: 404,
    AlreadyExists.kind: 409,
    InvalidArgument.kind: 400,
    FailedPrecondition.kind: 409,
    IdempotencyKeyReused.kind: 422,
}
_TITLES = {
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    413: "Content Too Large",
    422: "Unprocessable Content",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
_EXAMPLES = {
    400: "the body is not JSON",
    413: "the body is larger than 1 MiB",
    422: "body.name: Input should be a valid string",
    503: "the service can't reach what it needs: try again",
}


class BodyTooLarge(HTTPException):
    """A body over the limit."""

    def __init__(self) -> None:
        super().__init__(413, _EXAMPLES[413])


class Problem(BaseModel):
    """What went wrong: a problem document as RFC 9457 describes it."""

    type: str = Field("about:blank", description="Kind of problem; `about:blank`: the status says it.")
    title: str = Field(description="The status in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong with this request.")
    message: str = Field(description="The same text as `detail`.")


TOO_LARGE = _EXAMPLES[413]


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """The response for an error."""
    content = Problem(title=_TITLES.get(status, "Error"), status=status, detail=detail, message=detail)
    return JSONResponse(content.model_dump(), status, headers, MEDIA_TYPE)


def problems(*errors: type[DomainError], body: bool = False) -> dict[int | str, dict[str, Any]]:
    """OpenAPI `responses` of an operation that may refuse with those errors; `body` says that it takes one."""
    texts: dict[int, list[str]] = defaultdict(list)
    for error in errors:
        texts[_STATUSES[error.kind]].append(error.text)
    for status in (400, 413, 422, 503) if body else (422, 503):
        texts[status].append(_EXAMPLES[status])
    return {status: _documented(status, messages) for status, messages in sorted(texts.items())}


def unforeseen(error: Exception) -> JSONResponse:
    """The response for a bug: what it was is logged, and no client's business."""
    log.error("request failed", exc_info=error)
    return problem(500, "the service failed to handle the request")


def install(app: FastAPI) -> None:
    """Makes every error that the app foresees a problem document."""

    @app.exception_handler(DomainError)
    async def refused(_request: Request, error: DomainError) -> JSONResponse:
        return problem(_STATUSES[error.kind], error.message)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        errors = error.errors()
        if any(found["type"] == "json_invalid" for found in errors):
            return problem(400, _EXAMPLES[400])
        return problem(
            422, "; ".join(f"{_place(found['loc'])}: {found['msg'].removeprefix('Value error, ')}" for found in errors)
        )

    @app.exception_handler(TechnicalFault)
    async def unavailable(_request: Request, error: TechnicalFault) -> JSONResponse:
        log.warning("request could not be served", error=repr(error))
        return problem(503, _EXAMPLES[503], {"Retry-After": "1"})

    @app.exception_handler(HTTPException)
    async def of_the_framework(_request: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, error.detail, dict(error.headers or {}))


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


def _documented(status: int, messages: list[str]) -> dict[str, Any]:
    def example(message: str) -> dict[str, Any]:
        content = Problem(title=_TITLES[status], status=status, detail=message, message=message)
        return {"value": content.model_dump()}

    return {
        "model": Problem,
        "description": "; ".join(f"`{message}`" for message in messages),
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {message: example(message) for message in messages},
            }
        },
    }
