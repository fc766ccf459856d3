"""`python -m order`: runs the service."""

from order.main import container
from shared.host.container import run

run(container())
