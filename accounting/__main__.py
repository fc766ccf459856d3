"""`python -m accounting`: runs the service."""

from accounting.main import Container
from shared.runtime.container import run

run(Container())
