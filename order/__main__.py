"""`python -m order`: runs the service."""

from order.main import Container
from shared.runtime.container import run

run(Container())
