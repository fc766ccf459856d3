"""Which documents are made from the code, where they are, and what they should say. A test compares them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from cdc.nats_users import compose_users
from kernel.traffic import TRAFFIC
from tools.documents.asyncapi import asyncapi
from tools.documents.catalogue import aggregates, sagas
from tools.documents.compatibility import History, Incompatible, compare, describe, described_messages
from tools.documents.messages_page import messages_page
from tools.documents.problems_page import problems_page
from tools.documents.saga_diagram import saga_diagram
from tools.documents.services import pages_with_services
from tools.documents.sources import with_sources
from tools.documents.state_diagram import state_diagram
from tools.documents.traffic import traffic
from tools.system.system import ROOT

CONTRACTS = ROOT / "tests" / "contracts"
"""Every version of every message, a file for each service."""

LIBRARY_README = ROOT / "shared" / "README.md"
"""It shows the examples' code."""

_BLOCK = re.compile(r"(<!-- generated: (?P<what>.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def documents() -> dict[Path, str]:
    """The expected text of each document, by its path."""
    return {
        ROOT / "docs" / "asyncapi.yaml": asyncapi(),
        ROOT / "docs" / "messages.md": messages_page(),
        ROOT / "docs" / "problems.md": problems_page(),
        TRAFFIC: traffic(),
        ROOT / "docker" / "nats-users.conf": compose_users(),
        **dict(pages_with_services()),
        LIBRARY_README: with_sources(LIBRARY_README),
        **dict(_pages_with_diagrams()),
        **dict(_versions()),
    }


def incompatible_changes() -> list[Incompatible]:
    """The problems of the present code's messages, compared with the versions that are kept."""
    return list(compare({message.type_name: message for message in described_messages()}, kept_versions()))


def kept_versions() -> dict[str, History]:
    """The versions of the messages as they were last written."""
    return {
        name: history
        for path in sorted(CONTRACTS.glob("*.json"))
        for name, history in json.loads(path.read_text()).items()
    }


def _pages_with_diagrams() -> Iterator[tuple[Path, str]]:
    """The services' READMEs, with each diagram in the place marked for it. Raises LookupError when there is none."""
    blocks: dict[str, dict[str, str]] = {}
    for service, aggregate in aggregates():
        blocks.setdefault(service, {})[f"the states of {aggregate.__name__}"] = state_diagram(aggregate)
    for saga in sagas():
        blocks.setdefault(saga.service(), {})[f"the steps of {saga.__name__}"] = saga_diagram(saga)
    for service, diagrams in blocks.items():
        page = ROOT / service / "README.md"
        yield page, _with_blocks(page.read_text(), diagrams)


def _with_blocks(text: str, diagrams: dict[str, str]) -> str:
    marked = [match["what"] for match in _BLOCK.finditer(text)]
    if sorted(marked) != sorted(diagrams):
        raise LookupError(f"there are places for {sorted(marked)}, and diagrams of {sorted(diagrams)}")
    return _BLOCK.sub(lambda block: f"{block[1]}```mermaid\n{diagrams[block['what']]}\n```\n{block[3]}", text)


def _versions() -> Iterator[tuple[Path, str]]:
    """The files of `CONTRACTS`: what they contain already, and the present version of each message."""
    kept = kept_versions()
    files: dict[str, dict[str, History]] = {}
    for message in described_messages():
        history = kept.get(message.type_name, {}) | {str(message.schema): describe(message)}
        files.setdefault(message.type_name.partition(".")[0], {})[message.type_name] = history
    for service, histories in files.items():
        yield CONTRACTS / f"{service}.json", json.dumps(histories, indent=2) + "\n"
