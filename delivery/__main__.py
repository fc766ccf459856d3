"""`python -m delivery`: runs the service."""

import kernel.environment  # noqa: F401 - before all modules that read it
from delivery.main import container
from shared.host.container import run

run(container())
