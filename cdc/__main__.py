"""`python -m cdc order consumer`: runs the relays of these services' databases."""

import sys

from cdc.main import main

sys.exit(main())
