"""The services keep to their OpenAPI documents, whatever they are sent; and the documents are complete.

schemathesis makes requests of the documents: examples, each limit and what lies beyond it, random ones, and chains in
which one names what another has made; malformed bodies, headers and methods that don't exist among them. Its checks are
all on; `openapi/schemathesis.toml` and `openapi/hooks.py` say what the contract demands that no schema can say. To send
more, or other requests, to a system that runs:

    .venv/bin/python -m schemathesis.cli --config-file tests/openapi/schemathesis.toml \
        run http://127.0.0.1:8005/openapi.json --max-examples 1000
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from kernel.topology import BY_NAME
from shared.web.problems import MEDIA_TYPE
from tests.api import ADDRESS, CART, Api
from tests.openapi.documents import documents
from tests.support.processes import ROOT, RunningSystem

CONFIGURATION = Path(__file__).parent / "openapi" / "schemathesis.toml"
LABEL = "home"
ORDERS = 8


@pytest.fixture(scope="module")
def known(system: RunningSystem) -> dict[str, dict[str, Any]]:
    """What exists, by the service that is asked for it."""

    async def make() -> dict[str, dict[str, Any]]:
        async with Api(system.urls) as api:
            consumer, restaurant, courier = (
                await api.register_consumer(),
                await api.open_restaurant(),
                await api.courier(),
            )
            home = {"address_id": LABEL, "address": ADDRESS}
            await api.call("consumer", "POST", f"/api/consumers/{consumer}/addresses", json=home)
            made = [await api.approved_order(consumer, restaurant) for _ in range(ORDERS)]
            orders, tickets = [order for order, _ in made], [ticket for _, ticket in made]
            for ticket in tickets[: ORDERS // 2]:
                await api.ticket(ticket, "accept")
            for order in orders:
                await api.known("delivery", f"/api/deliveries/{order}")
                await api.known("order_history", f"/api/orders/{order}")
        ids = {
            "accounting": [consumer],
            "consumer": [consumer],
            "delivery": [*orders, courier],
            "kitchen": [*tickets, restaurant],
            "order": [*orders, restaurant],
            "restaurant": [restaurant],
            "order_history": orders,
        }
        named = {"consumer_id": consumer, "restaurant_id": restaurant, "address_id": LABEL, "items": list(CART)}
        return {service: {"ids": found, **named} for service, found in ids.items()}

    return asyncio.run(make())


@pytest.mark.parametrize("service", BY_NAME)
def test_a_service_answers_as_documented_whatever_it_is_sent(
    system: RunningSystem, known: dict[str, dict[str, Any]], service: str
) -> None:
    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION)),
            *("run", f"{system.urls[service]}/openapi.json", "--no-color", "--warnings", "off"),
        ],
        cwd=ROOT,
        env={**os.environ, "FTGO_TEST_KNOWN": json.dumps(known.get(service, {}))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-10_000:] + run.stderr


async def test_afterwards_the_services_still_work_and_nothing_was_parked(
    system: RunningSystem, known: dict[str, dict[str, Any]]
) -> None:
    async with Api(system.urls) as api:
        await api.approved_order(await api.register_consumer(), await api.open_restaurant())
        for service in known:
            assert await api.call(service, "GET", "/readyz") == {"status": "ready"}
            assert '"level": "error"' not in system.log(service)
            connection = await asyncpg.connect(system.databases[service].migrations_url)
            try:
                assert await connection.fetchval("select count(*) from set_aside where parked_at is not null") == 0
            finally:
                await connection.close()


@pytest.fixture(scope="module")
def every_document() -> dict[str, dict[str, Any]]:
    """The services' documents, by their names."""
    return documents()


@pytest.fixture(params=[*BY_NAME, "repair"])
def document(every_document: dict[str, dict[str, Any]], request: pytest.FixtureRequest) -> dict[str, Any]:
    """One of them."""
    return every_document[request.param]


def test_a_document_names_everything_once(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in _operations(document)]
    assert len(set(names)) == len(names)
    used = {tag for _, operation in _operations(document) for tag in operation["tags"]}
    assert used == {tag["name"] for tag in document["tags"]}
    assert "HTTPValidationError" not in document["components"]["schemas"]  # FastAPI's, which we never answer with


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    for path, operation in _operations(document):
        name = operation["operationId"]
        assert operation["summary"], name
        assert operation["description"], name
        assert len(operation["tags"]) == 1, name
        if path.startswith(("/api/", "/admin/")):
            assert {"413", "422", "503"} <= operation["responses"].keys(), name
            assert "400" in operation["responses"] or "requestBody" not in operation, name
        for status, response in operation["responses"].items():
            if status >= "400":
                ((media_type, content),) = response["content"].items()
                assert media_type == MEDIA_TYPE, name
                problem, own = content["schema"]["allOf"]
                assert problem == {"$ref": "#/components/schemas/Problem"}, name
                examples = content["examples"]
                assert own["properties"]["code"]["enum"] == [*examples], name
                assert {(found["value"]["status"], code) for code, found in examples.items()} == {
                    (int(status), found["value"]["code"]) for found in examples.values()
                }, name


def test_what_goes_in_and_out_has_an_example(document: dict[str, Any]) -> None:
    for _, operation in _operations(document):
        described = [*operation["responses"].values(), operation.get("requestBody", {})]
        for content in (content for each in described for content in each.get("content", {}).values()):
            given = content.keys() & {"example", "examples"}
            assert given or _has_examples(content["schema"], document), operation["operationId"]


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The operations with their paths."""
    for path, operations in document["paths"].items():
        yield from ((path, operation) for operation in operations.values())


def _has_examples(schema: dict[str, Any], document: dict[str, Any]) -> bool:
    """Whether the schema, or else each part of it, says what it may look like."""
    if "$ref" in schema:
        return _has_examples(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
    parts = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]
    return "examples" in schema or (bool(parts) and all(_has_examples(part, document) for part in parts))
