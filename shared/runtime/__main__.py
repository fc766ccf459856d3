"""`python -m shared.runtime`: the command line."""

import shared.runtime.environment  # noqa: F401 - before all that reads it
from shared.runtime.cli import main

main()
