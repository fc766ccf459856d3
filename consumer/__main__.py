"""`python -m consumer`: runs the service."""

from consumer.main import container
from shared.host.container import run

run(container())
