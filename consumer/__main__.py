"""`python -m consumer`: runs the service."""

from consumer.main import Container
from shared.runtime.container import run

run(Container())
