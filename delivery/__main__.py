"""`python -m delivery`: runs the service."""

from delivery.main import container
from shared.runtime.container import run

run(container())
