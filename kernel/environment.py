"""Importing this, as the first thing that a process does, makes its environment ours.

A person's shell has settings for other programs, and the libraries that we use would take them over behind our back:
another PostgreSQL's address, a proxy, a debugger's switches. What they may be told is in our own settings, `FTGO_…`,
and in the few variables that README and docker/README.md name.
"""

import os

_FOREIGN = (
    "ALEMBIC_",
    "ALL_PROXY",
    "FORWARDED_ALLOW_IPS",  # uvicorn
    "GODEBUG",  # nats-server
    "GOGC",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NATS_",
    "OTEL_",
    "PG",
    "PROMETHEUS_",
    "PYDANTIC_",
    "PYTHON",
    "SQLALCHEMY_",
    "SSLKEYLOGFILE",
    "UVICORN_",
    "WEB_CONCURRENCY",  # uvicorn
)
_DOCUMENTED = ("OTEL_BSP_", "OTEL_EXPORTER_OTLP_", "PGSSLMODE", "PGSSLROOTCERT")


def is_foreign(variable: str) -> bool:
    """Tell whether a variable configures a library that we use, without being one of our settings."""
    name = variable.upper()  # some libraries read theirs in small letters too
    return name.startswith(_FOREIGN) and not name.startswith(_DOCUMENTED)


for _variable in filter(is_foreign, list(os.environ)):
    del os.environ[_variable]
os.environ["PYTHONUTF8"] = "1"  # for processes that are started from here, even on a terminal with another encoding
