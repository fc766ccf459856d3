"""`python -m tools`: the command line."""

import kernel.environment  # noqa: F401 - before any module that reads the environment
from tools.cli import main

main()
