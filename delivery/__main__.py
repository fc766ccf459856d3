"""`python -m delivery`: runs the service."""

from delivery.main import Container
from shared.runtime.container import run

run(Container())
