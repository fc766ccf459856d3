"""Prepares a PostgreSQL server for all services, once, before they start: `python -m tools.system.provision`.

For the compose file. Doing it again changes nothing but passwords.
"""

import sys

from kernel.topology import FTGO, SERVICES
from shared.host.provision import main

if __name__ == "__main__":
    sys.exit(main(FTGO, SERVICES))
