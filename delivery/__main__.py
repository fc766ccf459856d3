"""`python -m delivery`: runs the service."""

import shared.runtime.environment  # noqa: F401 - before all that reads it
from delivery.main import container
from shared.runtime.container import run

run(container())
