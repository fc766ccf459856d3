"""Handlers: functions of a message and a unit of work. Those in a module are found by the `handles` decorator."""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import ModuleType, NoneType
from typing import Any, TypeVar, cast, get_type_hints

from shared.core.messages import Command, Done, Event, Message, Reply

Handler = Callable[[Any, Any], Awaitable[Reply | None]]
F = TypeVar("F", bound=Callable[..., Awaitable[Reply | None]])

_MARK = "__handles_messages__"


def handles(function: F) -> F:
    """Mark an `async def (message, unit_of_work)` as the handler of its first parameter's type."""
    setattr(function, _MARK, True)
    return function


class Handlers(Mapping[type[Message], Handler]):
    """The handlers of one service by the message type that they handle."""

    def __init__(self, handlers: Mapping[type[Message], Handler]) -> None:
        self._handlers = dict(handlers)

    @classmethod
    def of(cls, *sources: ModuleType | Handler) -> "Handlers":
        """Return the handlers in the given modules, and the given functions.

        Raise TypeError for two handlers of one message, and for a handler whose return type is not its command's reply.
        """
        found: dict[type[Message], Handler] = {}
        for function in _handlers_in(sources):
            message, answer = _signature(function)
            if message in found:
                raise TypeError(f"{message.type_name} has two handlers: {found[message]} and {function}")
            expected = message.reply_type() if issubclass(message, Command) else Done
            if answer is not (NoneType if expected is Done else expected):
                raise TypeError(f"{function.__qualname__} should answer {expected.__name__}, not {answer}")
            found[message] = cast(Handler, function)
        return cls(found)

    def __getitem__(self, message: type[Message]) -> Handler:
        return self._handlers[message]

    def __iter__(self) -> Any:
        return iter(self._handlers)

    def __len__(self) -> int:
        return len(self._handlers)

    def routes(self) -> list[str]:
        """Return the routes that a subscription must read for them, such as `command.kitchen.CreateTicket`."""
        return sorted(
            f"{'event' if issubclass(message, Event) else 'command'}.{message.type_name}"
            for message in self
            if message.is_public
        )


def _handlers_in(sources: Iterable[ModuleType | Handler]) -> Iterable[Callable[..., Any]]:
    for source in sources:
        if not isinstance(source, ModuleType):
            yield source
            continue
        for _, function in inspect.getmembers(source, inspect.iscoroutinefunction):
            if getattr(function, _MARK, False) and function.__module__ == source.__name__:
                yield function


def _signature(function: Callable[..., Any]) -> tuple[type[Message], Any]:
    hints = get_type_hints(function)
    first = next(iter(inspect.signature(function).parameters))
    return hints[first], hints["return"]
