"""`python -m consumer`: runs the service."""

import kernel.environment  # noqa: F401 - before all modules that read it
from consumer.main import container
from shared.host.container import run

run(container())
