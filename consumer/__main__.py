"""`python -m consumer`: runs the service."""

from consumer.main import container
from shared.runtime.container import run

run(container())
