"""The services' OpenAPI documents. `python -m tests.openapi.documents FOLDER` writes them, for tools to read."""

import json
import sys
from pathlib import Path
from typing import Any

from kernel.topology import BY_NAME
from shared.testing.system import MemorySystem


def documents() -> dict[str, dict[str, Any]]:
    """By the name of the service; `repair` is the same for all."""
    services = MemorySystem(BY_NAME).services
    apis = {name: service.container.app().openapi() for name, service in services.items()}
    return {**apis, "repair": services["order"].container.admin_app().openapi()}


if __name__ == "__main__":
    for name, document in documents().items():
        Path(sys.argv[1], f"{name}.json").write_text(json.dumps(document, indent=2))
