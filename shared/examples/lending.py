"""The services of the lending library, and its relay process: `python -m shared.examples.lending`."""

import sys

from shared import Application, ServiceInfo
from shared.host.relays import run_relays

LENDING = Application("lending")
MEMBERS = ServiceInfo("members", 8101, "members", LENDING, senders=("books",), package="shared.examples.members")
BOOKS = ServiceInfo("books", 8102, "books", LENDING, senders=("members",), package="shared.examples.books")
READS = {"members": ["command.members.CountLoan"], "books": ["reply.books"]}
"""The routes that each service reads."""

if __name__ == "__main__":
    sys.exit(run_relays(LENDING, [MEMBERS, BOOKS], READS))
