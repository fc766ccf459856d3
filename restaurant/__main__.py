"""`python -m restaurant`: runs the service."""

from restaurant.main import container
from shared.runtime.container import run

run(container())
