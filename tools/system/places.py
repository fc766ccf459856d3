"""Addresses of the system that commands talk to: the one that `./ftgo up` runs here, or another one by its host."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from cdc.nats_users import OPERATOR
from kernel.topology import FTGO, SERVICES
from shared.adapters.nats.connection import NatsAddress
from shared.host.settings import Settings
from tools.system.process import LaunchError
from tools.system.system import SystemSettings, running_system

# NATS' default password in docker-compose.yml.
COMPOSE_PASSWORD = "ftgo-development"  # noqa: S105 - public, and meant for development only


@dataclass(frozen=True)
class Places:
    """The base URL of each service by its name, and NATS' address."""

    urls: Mapping[str, str]
    nats: NatsAddress


def of_running_system(settings: SystemSettings) -> Places | None:
    """Return the addresses of the embedded system; None unless it runs."""
    running = running_system(settings)
    if running is None:
        return None
    # A service that `up` was told to leave out is run by hand, on the same port.
    return Places({each.name: running.url(running.port(each)) for each in SERVICES}, running.nats_address)


def of_host(url_base: str, nats_url: str | None, port_offset: int = 0) -> Places:
    """Return the standard addresses on a host given as `http://host`. Raises LaunchError for any other form."""
    parts = urlsplit(url_base)
    host = parts.hostname or ""
    only_a_host = parts.netloc.lower() in (host, f"[{host}]") and parts.path in ("", "/") and not parts.query
    if parts.scheme not in ("http", "https") or not host or not only_a_host:
        raise LaunchError(f"--url-base is http:// and a host, without port or path: not {url_base!r}")
    urls = {each.name: f"{parts.scheme}://{parts.netloc}:{each.port + port_offset}" for each in SERVICES}
    return Places(urls, nats_address(nats_url or f"nats://{parts.netloc}:{4222 + port_offset}"))


def nats_address(url: str | None = None) -> NatsAddress:
    """Return NATS' address with FTGO_NATS_USER and FTGO_NATS_PASSWORD, or the compose file's defaults."""
    settings = Settings(application=FTGO)
    password = settings.nats_password.get_secret_value() if settings.nats_password else COMPOSE_PASSWORD
    return NatsAddress(url or settings.nats_url, FTGO, settings.nats_user or OPERATOR, password, settings.nats_ca_file)


def nats_of(nats_url: str | None) -> NatsAddress:
    """Return the given NATS address; if none is given, the running embedded system's, or else the settings'."""
    if nats_url is None and (running := of_running_system(SystemSettings())) is not None:
        return running.nats
    return nats_address(nats_url)
