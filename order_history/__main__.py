"""`python -m order_history`: runs the service."""

import shared.runtime.environment  # noqa: F401 - before all that reads it
from order_history.main import container
from shared.runtime.container import run

run(container())
