"""What schemathesis is told of a service beyond its document: what exists, and what JSON Schema can't say.

A client that sends only ids of its own invention is answered 404 and sees nothing of the service. So of the requests
that are to be accepted, two of three name what `test_openapi.py` has made; the rest, and all that are to be refused,
stay as they were generated.
"""

import itertools
import json
import os
from typing import Any

import schemathesis
from schemathesis import Case, HookContext

KNOWN: dict[str, Any] = json.loads(os.environ.get("FTGO_TEST_KNOWN", "{}"))
_ids = itertools.cycle(KNOWN.get("ids", ()))
_turns = itertools.cycle([True, True, False])
_numbers = itertools.count(1)


@schemathesis.hook
def before_call(_context: HookContext, case: Case[Any], _options: dict[str, Any]) -> None:
    """Makes it a request that the service can do something with."""
    if case.meta is None or case.meta.generation.mode.is_negative:
        return
    body: Any = case.body
    if isinstance(body, dict):
        _keep_to_the_contract(body)
    if "Idempotency-Key" in case.headers:  # one key is for one request
        case.headers["Idempotency-Key"] = f"{next(_numbers)} {case.headers['Idempotency-Key']}"[:255].rstrip()
    # A chain of requests names what its first one has made. And what is there for all is not to be erased by one.
    erases = case.method == "DELETE" and "address_id" not in case.path_parameters
    if KNOWN and case.meta.phase.name.value != "stateful" and not erases and next(_turns):
        _name_what_exists(case.path_parameters, body if isinstance(body, dict) else {})


def _keep_to_the_contract(body: dict[str, Any]) -> None:
    """Times lie ahead, and no two items have one id."""
    for name in {"delivery_time", "ready_by"} & body.keys():
        body[name] = "9" + body[name][1:]
    for item, number in zip(body.get("menu", body).get("menu_items", ()), itertools.count()):
        item["id"] = f"{number} {item['id']}"[:1000]


def _name_what_exists(parameters: dict[str, Any], body: dict[str, Any]) -> None:
    if "id" in parameters:
        parameters["id"] = next(_ids)
    if "address_id" in parameters:
        parameters["address_id"] = KNOWN["address_id"]
    for name in {"consumer_id", "restaurant_id"} & body.keys():
        body[name] = KNOWN[name]
    for name in {"line_items", "revised_quantities"} & body.keys():
        body[name] = dict(zip(KNOWN["items"], body[name].values(), strict=False))
