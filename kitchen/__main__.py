"""`python -m kitchen`: runs the service."""

from kitchen.main import Container
from shared.runtime.container import run

run(Container())
