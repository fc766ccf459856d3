"""The HTTP API of all services, as `./ftgo demo` and `./ftgo chaos` use it."""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import httpx

T = TypeVar("T")

IDEMPOTENCY_KEY = "Idempotency-Key"
PATIENCE = 30.0
"""How many seconds anything may take at most."""


class Unexpected(Exception):
    """Something didn't happen, or happened wrongly. The text completes a sentence about an order."""


class NoAnswer(Exception):
    """No answer came; the text says why. With `unsent` the service has not received the request; otherwise it may have
    carried it out."""

    def __init__(self, reason: str, *, unsent: bool) -> None:
        super().__init__(reason)
        self.unsent = unsent


class Api:
    """Calls services by their names. `pause` is called between the checks for something that is expected to happen."""

    def __init__(
        self,
        clients: Mapping[str, httpx.AsyncClient],
        pause: Callable[[], Awaitable[None]],
        patience: float = PATIENCE,
    ) -> None:
        self._clients = clients
        self._pause = pause
        self._patience = patience

    async def get(self, service: str, path: str) -> dict[str, Any] | None:
        """Send a GET request and return the resource, or None while it doesn't exist."""
        response = await self._send(service, "GET", path, None, {})
        return None if response.status_code == httpx.codes.NOT_FOUND else _body(response)

    async def post(
        self, service: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Send a POST request. Raises Unexpected when it's refused."""
        return _body(await self._send(service, "POST", path, body, headers or {}))

    async def put(
        self, service: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Send a PUT request. Raises Unexpected when it's refused."""
        return _body(await self._send(service, "PUT", path, body, headers or {}))

    async def until(
        self,
        look: Callable[[], Awaitable[T]],
        good: Callable[[T], bool],
        complain: Callable[[T], str],
        meanwhile: Callable[[], Awaitable[None]] | None = None,
    ) -> T:
        """Check repeatedly until the result is good, and return it. `meanwhile` is called after each failed check.
        Raises Unexpected, with the complaint about the last result, when the time is over."""
        give_up = time.monotonic() + self._patience
        while not good(seen := await look()):
            if time.monotonic() >= give_up:
                raise Unexpected(f"{complain(seen)} after {self._patience:g} s")
            if meanwhile is not None:
                await meanwhile()
            await self._pause()
        return seen

    async def until_there(self, service: str, path: str) -> dict[str, Any]:
        """Wait until a service that learns of a resource through messages knows it."""
        found = await self.until(
            lambda: self.get(service, path), lambda body: body is not None, lambda _: f"{service} has no {path}"
        )
        assert found is not None
        return found

    async def once(
        self, service: str, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> httpx.Response:
        """Send a request once, and return whatever the answer is. Raises NoAnswer."""
        try:
            return await self._clients[service].request(method, path, json=body, headers=dict(headers))
        except httpx.ConnectError:
            raise NoAnswer("it does not answer", unsent=True) from None
        except httpx.TransportError as error:
            raise NoAnswer(f"{type(error).__name__} {error}".rstrip(), unsent=False) from None

    async def _send(
        self, service: str, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> httpx.Response:
        """Send a request. Retry while the service starts or is busy, as it has done nothing yet then. Also retry when
        the connection broke, if sending the request twice does no harm."""
        repeatable = method == "GET" or IDEMPOTENCY_KEY in headers
        give_up = time.monotonic() + self._patience
        while True:
            try:
                response = await self.once(service, method, path, body, headers)
                if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    return response
                reason = _problem(response)
            except NoAnswer as broken:
                if not (repeatable or broken.unsent):
                    raise Unexpected(f"{method} {path} failed: {broken}") from None
                reason = str(broken)
            if time.monotonic() >= give_up:
                raise Unexpected(f"{service} could not be asked to {method} {path}: {reason}")
            await self._pause()


def _body(response: httpx.Response) -> dict[str, Any]:
    request = response.request
    if not response.is_success:
        raise Unexpected(f"{request.method} {request.url.path} was answered with {_problem(response)}")
    body: dict[str, Any] = response.json()
    return body


def _problem(response: httpx.Response) -> str:
    try:
        return f"{response.status_code}: {response.json()['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code}"
