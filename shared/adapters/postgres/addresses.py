"""Addresses of databases, as SQLAlchemy wants them."""

from urllib.parse import unquote

from sqlalchemy import URL, make_url


def engine_url(url: str, driver: str) -> URL:
    """The URL with SQLAlchemy's name for the driver.

    A Unix socket's folder stands in the place of the host, encoded (`%2Frun%2Fpg`); libpq and asyncpg decode it.
    """
    parsed = make_url(url)
    return parsed.set(drivername=f"postgresql+{driver}", host=unquote(parsed.host or ""))
