"""The OpenAPI documents: adds what FastAPI cannot know about an API, and serves the page that shows it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fastapi_offline
from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from shared.web.hardening import POLICY, policy_of_page
from shared.web.problems import Problem

AN_ID = "019a3c5e-8f00-7c21-9b7e-3d5f0a1b2c3d"
"""An id for examples."""

_TAGS = {
    "operations": "Health and metrics, for operators.",
    "repair": "What waits for an operator: messages that failed too often, and sagas that are stuck.",
}
_ABOUT_ALL = """

Every error is a problem document (RFC 9457). A request may have an `X-Correlation-Id` header: all that follows from
it carries the same id, in the other services too, and the answer returns it."""

# The package contains Swagger UI's files. FastAPI's own page loads them from a CDN: without a network it stays blank.
_ASSETS = Path(fastapi_offline.__file__).parent / "static"


class Api(FastAPI):
    """A FastAPI application that documents what all services have in common, and whose /docs needs no network."""

    def __init__(self, *, title: str, description: str, tags: Mapping[str, str], contact: str, **options: Any) -> None:
        """Say what the tags of the service's own operations mean, and who answers for it (`contact`)."""
        super().__init__(
            title=title,
            description=description + _ABOUT_ALL,
            contact={"name": contact},
            servers=[{"url": "/"}],
            docs_url=None,
            redoc_url=None,
            **options,
        )
        self._tags = _TAGS | dict(tags)
        self.mount("/docs/assets", StaticFiles(directory=_ASSETS))
        self.add_api_route("/docs", self._docs, include_in_schema=False)

    async def _docs(self) -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url="openapi.json",
            title=f"{self.title}: API",
            swagger_js_url="docs/assets/swagger-ui-bundle.js",
            swagger_css_url="docs/assets/swagger-ui.css",
            swagger_favicon_url="docs/assets/favicon.png",
        )
        page.headers[POLICY] = policy_of_page(bytes(page.body).decode())
        return page

    def openapi(self) -> dict[str, Any]:
        document = self.openapi_schema
        if document is None:
            document = super().openapi()
            operations = [operation for path in document["paths"].values() for operation in path.values()]
            used = dict.fromkeys(tag for operation in operations for tag in operation["tags"])
            document["tags"] = [_documented(tag, self._tags) for tag in used]
            document["security"] = []  # there is no authentication
            document["components"]["schemas"]["Problem"] = Problem.model_json_schema()
            for operation in operations:
                for parameter in operation.get("parameters", ()):
                    parameter["schema"] = _not_null(parameter["schema"])
        return document


def _documented(tag: str, descriptions: Mapping[str, str]) -> dict[str, str]:
    return {"name": tag} | ({"description": descriptions[tag]} if tag in descriptions else {})


def example(status: int, content: Any) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI `responses` with an example of the success."""
    return {status: {"content": {"application/json": {"example": content}}}}


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a parameter's schema without null: an optional parameter is None in Python, but null cannot be sent."""
    alternatives: list[dict[str, Any]] = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if len(alternatives) != 1:
        return schema
    return alternatives[0] | {keyword: value for keyword, value in schema.items() if keyword != "anyOf"}
