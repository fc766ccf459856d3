"""`python -m order_history.rebuild`: builds the history anew from the owners' stored events."""

import sys

import kernel.environment  # noqa: F401 - before all modules that read it
from order_history.main import container
from shared.host.rebuild import main

sys.exit(main(container()))
