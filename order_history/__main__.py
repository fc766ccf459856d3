"""`python -m order_history`: runs the service."""

from order_history.main import container
from shared.host.container import run

run(container())
