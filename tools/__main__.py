"""`python -m tools`: the command line."""

import kernel.environment  # noqa: F401 - before all that reads it
from tools.cli import main

main()
