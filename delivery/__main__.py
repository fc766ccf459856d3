"""`python -m delivery`: runs the service."""

from delivery.main import container
from shared.host.container import run

run(container())
