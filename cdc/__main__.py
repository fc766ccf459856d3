"""`python -m cdc order consumer`: runs the relays of these services' databases."""

import sys

import kernel.environment  # noqa: F401 - before all that reads it
from cdc.main import main

sys.exit(main())
