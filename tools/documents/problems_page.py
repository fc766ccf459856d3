"""`docs/problems.md`: the codes of all problem documents, from the errors that the code declares."""

import importlib
from collections.abc import Iterator

from kernel.topology import SERVICES
from shared.core.errors import DomainError
from shared.host.admin.http import FROM_ELSEWHERE
from shared.web.problems import KINDS, Kind, kind_of

_INTRODUCTION = """\
# Problems

Made by `./ftgo docs` from the code.

Every error is answered with a problem document (RFC 9457, `application/problem+json`):

```json
{
  "type": "about:blank",
  "title": "Not Found",
  "status": 404,
  "code": "order_not_found",
  "detail": "order not found",
  "message": "order not found"
}
```

`code` is for programs: it stays the same when a text is changed. `detail` and `message` are the same text, for people.
Each operation's codes are in the OpenAPI document of its service. A command of a saga that is refused is answered with
the same code, in a `Refused`.
"""


def problems_page() -> str:
    """Return the page."""
    return "\n".join(
        [
            _INTRODUCTION,
            "## Of every process",
            "",
            "| code | status | text |",
            "| --- | --- | --- |",
            *(_row(kind) for kind in sorted((*KINDS, FROM_ELSEWHERE), key=lambda kind: (kind.status, kind.code))),
            "",
            "Where several things can be wrong, the text is an example. After a 503 the request may be sent again.",
            "",
            "## Of the domain",
            "",
            "| code | status | text | from |",
            "| --- | --- | --- | --- |",
            *(f"{_row(kind)} {', '.join(owners)} |" for kind, owners in sorted(_declared().items(), key=_by_code)),
            "",
        ]
    )


def _row(kind: Kind) -> str:
    return f"| `{kind.code}` | {kind.status} | {kind.detail} |"


def _by_code(item: tuple[Kind, list[str]]) -> str:
    return item[0].code


def _declared() -> dict[Kind, list[str]]:
    """The kinds of the errors that have a text of their own, and who declares each."""
    services = [service.name for service in SERVICES]
    for name in services:
        importlib.import_module(f"{name}.main")
    declared: dict[Kind, list[str]] = {}
    for error in _subclasses(DomainError):
        owner, *inner = error.__module__.split(".")
        if (
            owner in (*services, "shared")
            and "text" in vars(error)
            and not {"examples", "tests", "testing"} & set(inner)
        ):
            declared.setdefault(kind_of(error), []).append("all services" if owner == "shared" else f"`{owner}`")
    return {kind: sorted(owners) for kind, owners in declared.items()}


def _subclasses(cls: type[DomainError]) -> Iterator[type[DomainError]]:
    for each in cls.__subclasses__():
        yield each
        yield from _subclasses(each)
