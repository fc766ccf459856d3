"""`python -m kitchen`: runs the service."""

from kitchen.main import container
from shared.host.container import run

run(container())
