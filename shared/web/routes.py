"""The routes of a service's API: a changing request can be sent again with the same `Idempotency-Key`."""

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, params

from shared.core.errors import IdempotencyKeyReused
from shared.unit_of_work.idempotency import IdempotencyKey, under
from shared.web.problems import also

_CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})


async def _with_its_key(
    request: Request,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            pattern=r"^[!-~]([ -~]*[!-~])?$",
            description="A request sent again with the same key is carried out once, and gets the first answer again.",
        ),
    ] = None,
) -> AsyncIterator[None]:
    if key is None:
        yield
        return
    body_hash = hashlib.sha256(await request.body()).hexdigest()
    with under(IdempotencyKey(request=f"{request.method} {request.scope['path']}", key=key, body_hash=body_hash)):
        yield


class Routes(APIRouter):
    """A router whose changing operations take an `Idempotency-Key`, and document it.

    `CommandQueue` reads the key and repeats the answer. An operation need not do anything for it, but it must execute
    exactly one command.
    """

    def add_api_route(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        methods: Iterable[str] | None = None,
        dependencies: Sequence[params.Depends] | None = None,
        responses: dict[int | str, dict[str, Any]] | None = None,
        **options: Any,
    ) -> None:
        methods = list(methods or ("GET",))
        if not _CHANGING.isdisjoint(methods):
            dependencies = [*(dependencies or ()), Depends(_with_its_key)]
            responses = also(responses or {}, IdempotencyKeyReused)
        super().add_api_route(
            path, endpoint, methods=methods, dependencies=dependencies, responses=responses, **options
        )
