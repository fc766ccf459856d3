"""`python -m restaurant`: runs the service."""

from restaurant.main import container
from shared.host.container import run

run(container())
