"""`python -m order_history`: runs the service."""

import kernel.environment  # noqa: F401 - before all modules that read it
from order_history.main import container
from shared.host.container import run

run(container())
