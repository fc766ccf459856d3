"""`python -m restaurant`: runs the service."""

import kernel.environment  # noqa: F401 - before all modules that read it
from restaurant.main import container
from shared.host.container import run

run(container())
