"""Tells what is its own in a process: `python -m tools.system.tests.fork_facts`. Then it waits to be ended."""

import json
import os
import random
import signal
import sys

from shared.core.ids import new_id

facts = {
    "arguments": sys.argv[1:],
    "blocked": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
    "environment": dict(os.environ),
    "folder": os.getcwd(),  # noqa: PTH109 - the real one
    "group": os.getpgid(0),
    "id": new_id()[-12:],
    "pid": os.getpid(),
    "random": random.random(),
}
print(json.dumps(facts))
if "wait" in sys.argv:
    signal.pause()
raise SystemExit(3)
