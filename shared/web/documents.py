"""The OpenAPI documents: what FastAPI can't know of an API, and the page that shows it."""

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
"""For examples."""

_TAGS = {
    "operations": "For those who run the service.",
    "repair": "What waits for a person: messages that failed too often, and sagas that can't go on.",
}
_ABOUT_ALL = """

Every error is a problem document (RFC 9457). A request may bring an `X-Correlation-Id`: everything that follows from it
carries the same, also in the other services, and the answer says it again."""

# The package has Swagger UI's own files. FastAPI's page takes them from a CDN: without a network it would stay blank.
_ASSETS = Path(fastapi_offline.__file__).parent / "static"


class Api(FastAPI):
    """A FastAPI application whose document says what is the same for all services, and whose /docs needs no network."""

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
        """See `FastAPI`."""
        document = self.openapi_schema
        if document is None:
            document = super().openapi()
            operations = [operation for path in document["paths"].values() for operation in path.values()]
            used = dict.fromkeys(tag for operation in operations for tag in operation["tags"])
            document["tags"] = [_documented(tag, self._tags) for tag in used]
            document["security"] = []  # nothing asks who is calling
            document["components"]["schemas"]["Problem"] = Problem.model_json_schema()
            for operation in operations:
                for parameter in operation.get("parameters", ()):
                    parameter["schema"] = _not_null(parameter["schema"])
        return document


def _documented(tag: str, descriptions: Mapping[str, str]) -> dict[str, str]:
    return {"name": tag} | ({"description": descriptions[tag]} if tag in descriptions else {})


def example(status: int, content: Any) -> dict[int | str, dict[str, Any]]:
    """OpenAPI `responses` with an example of the success."""
    return {status: {"content": {"application/json": {"example": content}}}}


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter's schema: one that may be left out is None in Python, but null can't be sent."""
    alternatives: list[dict[str, Any]] = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if len(alternatives) != 1:
        return schema
    return alternatives[0] | {keyword: value for keyword, value in schema.items() if keyword != "anyOf"}
