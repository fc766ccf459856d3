"""`python -m kitchen`: runs the service."""

import kernel.environment  # noqa: F401 - before all modules that read it
from kitchen.main import container
from shared.host.container import run

run(container())
