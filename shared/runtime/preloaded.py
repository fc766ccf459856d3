"""What every program of ours imports, for `forks`: the process that loads this is forked for each of them.

Only what they share. A service's own modules register its messages and metrics, which are no other service's business.
No thread may run and no event loop may exist here: neither survives a fork.
"""

import gc
import os
import signal

import alembic.command
import asyncpg
import nats
import opentelemetry.sdk.trace
import psycopg2.extras
import sqlalchemy.dialects.postgresql.asyncpg
import uvicorn.protocols.http.httptools_impl
import uvloop

import shared.adapters.nats.broker
import shared.adapters.postgres.database
import shared.outbox.relay
import shared.runtime.container
from shared.runtime.process import dies_with_parent

__all__ = ["alembic", "asyncpg", "nats", "opentelemetry", "psycopg2", "shared", "sqlalchemy", "uvicorn", "uvloop"]

dies_with_parent(os.getppid(), signal.SIGKILL)
os.setpgid(0, 0)  # the terminal's signals are for the supervisor, which stops things in order
gc.collect()
gc.freeze()  # or each fork's first collection would write to, and so copy, all these pages
