"""Pages that show code: the text between the marks is replaced by the present code of the file."""

import ast
import re
from pathlib import Path

_PLACE = re.compile(r"(<!-- source: (?P<path>[^\s#]+)(?:#(?P<name>\w+))? -->\n).*?(<!-- end -->)", re.DOTALL)


def with_sources(page: Path) -> str:
    """Return the page's text, with the present code of the files in it.

    A mark names a file, relative to the page, and may name one class or function in it: `<!-- source: a.py#f -->`.
    Raises FileNotFoundError and LookupError where a mark names something that does not exist.
    """

    def shown(place: re.Match[str]) -> str:
        code = (page.parent / place["path"]).read_text()
        if place["name"]:
            code = _definition(code, place["name"])
        return f"{place[1]}```python\n{code.rstrip()}\n```\n{place[4]}"

    return _PLACE.sub(shown, page.read_text())


def _definition(code: str, name: str) -> str:
    for node in ast.parse(code).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            return "\n".join(code.splitlines()[first - 1 : node.end_lineno])
    raise LookupError(f"there is no class or function {name}")
