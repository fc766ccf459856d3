"""`python -m accounting`: runs the service."""

from accounting.main import container
from shared.runtime.container import run

run(container())
