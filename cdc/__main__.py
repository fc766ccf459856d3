"""`python -m cdc order consumer`: runs the relays of these services' databases."""

import sys

import kernel.environment  # noqa: F401 - before all modules that read it
from cdc.main import main

sys.exit(main())
