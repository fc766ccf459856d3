"""`python -m accounting`: runs the service."""

from accounting.main import container
from shared.host.container import run

run(container())
