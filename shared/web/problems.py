"""Errors over HTTP: problem documents (RFC 9457), and how they are documented in OpenAPI.

Plain Starlette: `error_handlers` installs them in a FastAPI application.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from shared.core.errors import (
    AlreadyExists,
    DomainError,
    FailedPrecondition,
    IdempotencyKeyReused,
    InvalidArgument,
    LimitReached,
    NotFound,
    OutOfRange,
    as_code,
)

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"

_STATUSES: dict[str, int] = {
    NotFound.kind: 404,
    AlreadyExists.kind: 409,
    InvalidArgument.kind: 400,
    FailedPrecondition.kind: 409,
    OutOfRange.kind: 422,
    IdempotencyKeyReused.kind: 422,
    LimitReached.kind: 422,
}
_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """What problems of one kind have in common. `detail` is what people read; where each says its own, an example."""

    status: int
    code: str
    detail: str


BODY_NOT_JSON = Kind(400, "body_not_json", "the body is not JSON")
NOT_HTTP = Kind(400, "not_http", "the request is not HTTP")
NOT_FOUND = Kind(404, "not_found", "Not Found")
METHOD_NOT_ALLOWED = Kind(405, "method_not_allowed", "Method Not Allowed")
BODY_TOO_SLOW = Kind(408, "body_too_slow", "the body took too long")
BODY_TOO_LARGE = Kind(413, "body_too_large", "the body is larger than 1 MiB")
INVALID_REQUEST = Kind(422, "invalid_request", "path.id: is not a UUID")
HEAD_TOO_LARGE = Kind(431, "head_too_large", "the request line and the headers are larger than 32 KiB")
INTERNAL = Kind(500, "internal", "the service failed to handle the request")
UNAVAILABLE = Kind(503, "unavailable", "the service can't reach what it needs: try again")
OVERLOADED = Kind(503, "overloaded", "the service is overloaded: try again")
STOPPING = Kind(503, "stopping", "the service is stopping: try again")
TOO_MANY_CONNECTIONS = Kind(503, "too_many_connections", "the service has too many connections: try again")
NOT_READY = Kind(503, "not_ready", "PostgreSQL: the migrations have not been applied yet")

KINDS = (
    *(BODY_NOT_JSON, NOT_HTTP, NOT_FOUND, METHOD_NOT_ALLOWED, BODY_TOO_SLOW, BODY_TOO_LARGE, INVALID_REQUEST),
    *(HEAD_TOO_LARGE, INTERNAL, UNAVAILABLE, OVERLOADED, STOPPING, TOO_MANY_CONNECTIONS, NOT_READY),
)
"""What any service may answer, whatever its domain."""

_RETRY = {"Retry-After": "1"}
_OF_EVERY_OPERATION = (BODY_TOO_LARGE, UNAVAILABLE, OVERLOADED, STOPPING)


class Problem(BaseModel):
    """What went wrong: a problem document as RFC 9457 describes it."""

    type: str = Field("about:blank", description="Kind of problem; `about:blank`: the status says it.")
    title: str = Field(description="The status in words.")
    status: int = Field(description="The HTTP status.")
    code: str = Field(
        pattern="^[a-z0-9]+(_[a-z0-9]+)*$",
        description="What is wrong, for programs: unlike the texts, it stays the same.",
        examples=["order_not_found"],
    )
    detail: str = Field(description="What is wrong with this request, for people.")
    message: str = Field(description="The same text as `detail`.")


class RequestRefused(HTTPException):
    """Raised where a request is answered with a problem of a certain kind."""

    def __init__(self, kind: Kind, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(kind.status, kind.detail, headers)
        self.kind = kind


def kind_of(error: type[DomainError] | DomainError | HTTPException) -> Kind:
    """Return what kind of problem an error is: one of the domain, or one that a framework raises."""
    if isinstance(error, RequestRefused):
        return error.kind
    if isinstance(error, HTTPException):
        status = error.status_code
        # FastAPI says so of bodies that are no UTF-8, are nested too deep or hold numbers of thousands of digits.
        return BODY_NOT_JSON if status == 400 else Kind(status, as_code(_title(status)), error.detail)
    return Kind(_STATUSES[error.kind], error.code, error.text)


def problem(kind: Kind, detail: str = "", headers: Mapping[str, str] | None = None, **members: Any) -> JSONResponse:
    """Return the response for a problem, with a detail of its own if there is one. `members` are further members of
    the document. A client that gets a 503 is told to come again."""
    headers = {**(_RETRY if kind.status == 503 else {}), **(headers or {})}
    return JSONResponse(_content(kind, detail) | members, kind.status, headers, MEDIA_TYPE)


def unforeseen(error: Exception) -> JSONResponse:
    """Return the response for a bug: what it was is logged, and no client's business."""
    log.error("request failed", exc_info=error)
    return problem(INTERNAL)


def problems(
    *errors: type[DomainError], body: bool = False, invalid: str = INVALID_REQUEST.detail
) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's `responses` of an operation that may refuse with those errors.

    `body` says that it takes one, and `invalid` what a client is told whose request is against the schema.
    """
    kinds = [kind_of(error) for error in errors]
    kinds.append(Kind(INVALID_REQUEST.status, INVALID_REQUEST.code, invalid))
    if body:
        kinds += [BODY_NOT_JSON, BODY_TOO_SLOW]
    return documented(*kinds, *_OF_EVERY_OPERATION)


def also(responses: Mapping[int | str, dict[str, Any]], error: type[DomainError]) -> dict[int | str, dict[str, Any]]:
    """Return the same `responses`, of an operation that may refuse with one more error."""
    kind = kind_of(error)
    known = responses[kind.status]["content"][MEDIA_TYPE]["examples"] if kind.status in responses else {}
    kinds = [Kind(kind.status, code, example["value"]["detail"]) for code, example in known.items()]
    return {**responses, **documented(*kinds, kind)}


def documented(*kinds: Kind) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's `responses` for kinds of problems, by their status: each names its codes, with an example.

    `documents.Api` has the schema of the document itself.
    """
    by_status: dict[int, list[Kind]] = defaultdict(list)
    for kind in kinds:
        by_status[kind.status].append(kind)
    return {status: _response(by_status[status]) for status in sorted(by_status)}


def _response(kinds: Iterable[Kind]) -> dict[str, Any]:
    kinds = list({kind.code: kind for kind in kinds}.values())
    return {
        "description": "; ".join(f"`{kind.code}`: {kind.detail}" for kind in kinds),
        "content": {
            MEDIA_TYPE: {
                "schema": {
                    "allOf": [
                        {"$ref": "#/components/schemas/Problem"},
                        {"properties": {"code": {"enum": [kind.code for kind in kinds]}}},
                    ]
                },
                "examples": {kind.code: {"value": _content(kind)} for kind in kinds},
            }
        },
    }


def _content(kind: Kind, detail: str = "") -> dict[str, Any]:
    text = detail or kind.detail
    content = Problem(title=_title(kind.status), status=kind.status, code=kind.code, detail=text, message=text)
    return content.model_dump()


def _title(status: int) -> str:
    return _TITLES.get(status, "Error")
