"""`python -m order`: runs the service."""

from order.main import container
from shared.runtime.container import run

run(container())
