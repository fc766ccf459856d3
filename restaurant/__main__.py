"""`python -m restaurant`: runs the service."""

from restaurant.main import Container
from shared.runtime.container import run

run(Container())
