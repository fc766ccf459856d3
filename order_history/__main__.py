"""`python -m order_history`: runs the service."""

from order_history.main import Container
from shared.runtime.container import run

run(Container())
