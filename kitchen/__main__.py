"""`python -m kitchen`: runs the service."""

from kitchen.main import container
from shared.runtime.container import run

run(container())
