"""Addresses of databases, as SQLAlchemy wants them."""

from urllib.parse import unquote

from sqlalchemy import URL, make_url


def engine_url(url: str, driver: str) -> URL:
    """The URL with SQLAlchemy's name for the driver.

    A Unix socket's folder stands in the place of the host, encoded (`%2Frun%2Fpg`); libpq and asyncpg decode it. What
    libpq calls `sslmode` is called `ssl` where a driver is asyncpg.
    """
    parsed = make_url(url)
    query = dict(parsed.query)
    if driver == "asyncpg" and "sslmode" in query:
        query["ssl"] = query.pop("sslmode")
    return parsed.set(drivername=f"postgresql+{driver}", host=unquote(parsed.host or ""), query=query)
