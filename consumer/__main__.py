"""`python -m consumer`: runs the service."""

import shared.runtime.environment  # noqa: F401 - before all that reads it
from consumer.main import container
from shared.runtime.container import run

run(container())
