"""`python -m shared.runtime`: the command line."""

from shared.runtime.cli import main

main()
