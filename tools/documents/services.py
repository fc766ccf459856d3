"""Generates the parts of files that list services but can't ask the topology: import contracts, compose, Prometheus.

Each part is marked in its file, with `# generated: …` before it and `# end` after it.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from cdc.nats_users import ALL_RELAYS, compose_variable, nats_users, relay_user
from kernel.topology import SERVICES
from shared.core.service_info import ServiceInfo
from tools.system.places import COMPOSE_PASSWORD
from tools.system.system import ROOT

RELAY_PORT = 8090
"""Where a relay's container answers Prometheus and its health check."""
ADMIN_PORT = 8050
"""The port where a service's container answers operators, only inside the container."""

_NOT_PRODUCT = ("features", "tests")
"""Packages that the import contracts do not cover."""
_MEASURED = {"order": ["tools.bench.store"]}
"""By service: modules outside it that measure its real aggregates."""
_BLOCK = re.compile(r"^(?P<indent> *)# generated: (?P<what>.+)\n(?:.*\n)*?(?P=indent)# end\n", re.MULTILINE)


def pages_with_services() -> Iterator[tuple[Path, str]]:
    """Yield each file that lists the services, and its expected text."""
    for path, blocks in _blocks().items():
        yield path, with_blocks(path.read_text(), blocks)


def with_blocks(text: str, blocks: Mapping[str, Iterable[str]]) -> str:
    """Return the text with each block's lines in its place. Raise LookupError when places and blocks don't match."""
    marked = [match["what"] for match in _BLOCK.finditer(text)]
    if sorted(marked) != sorted(blocks):
        raise LookupError(f"there are places for {sorted(marked)}, and blocks for {sorted(blocks)}")

    def filled(match: re.Match[str]) -> str:
        lines = (f"# generated: {match['what']}", *blocks[match["what"]], "# end")
        return "".join(f"{match['indent']}{line}".rstrip() + "\n" for line in lines)

    return _BLOCK.sub(filled, text)


def _blocks() -> dict[Path, dict[str, Iterable[str]]]:
    docker = ROOT / "docker"
    publishing = [service for service in SERVICES if service.publishes]
    relays = [relay_user(service.name) for service in publishing]
    names = [service.name for service in SERVICES]
    return {
        ROOT / "pyproject.toml": _import_contracts(),
        ROOT / ".dockerignore": {"services": (f"!{name}" for name in names)},
        ROOT / "docker-compose.yml": {
            "passwords": map(_password, (user.name for user in nats_users() if user.name != ALL_RELAYS)),
            "services": _apart(map(_service, SERVICES)),
            "relays": _apart(map(_relay, publishing)),
        },
        ROOT / "docker-compose.tls.yml": {
            "clients": (f"{name}: *client" for name in ("provision", *names, "keeper", *relays)),
        },
        docker / "prometheus.yml": {
            "services": (f"- {service.name}:{service.port}" for service in SERVICES),
            "relays": (f"- {relay}:{RELAY_PORT}" for relay in relays),
        },
    }


def _import_contracts() -> dict[str, Iterable[str]]:
    packages = sorted(path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name not in _NOT_PRODUCT)
    with_domain = sorted(service.name for service in SERVICES if (ROOT / service.name / "domain").is_dir())
    return {
        "packages": [f"root_packages = {json.dumps(packages)}"],
        "services with a domain": [f"containers = {json.dumps(with_domain)}"],
        "what stands on the library": [f"forbidden_modules = {_without(packages, 'shared')}"],
        "what stands on the kernel": [f"forbidden_modules = {_without(packages, 'kernel', 'shared')}"],
        "others know a service by its contracts": _apart(map(_meet_at_contracts, with_domain)),
        "domains": [f"source_modules = {json.dumps([f'{name}.domain' for name in with_domain])}"],
    }


def _without(packages: Iterable[str], *left_out: str) -> str:
    return json.dumps([name for name in packages if name not in left_out])


def _meet_at_contracts(name: str) -> list[str]:
    inside = [f"{name}.{part}" for part in ("domain", "application", "adapters", "main")]
    return [
        "[[tool.importlinter.contracts]]",
        f'id = "meet-at-contracts-{name}"',
        f'name = "Others know {name} by its contracts only"',
        'type = "protected"',
        f"protected_modules = {json.dumps(inside)}",
        f"allowed_importers = {json.dumps([name, *_MEASURED.get(name, [])])}",
        'ignore_imports = ["**.tests.** -> **"]',
    ]


def _password(user: str) -> str:
    return f"""{compose_variable(user)}: '"{_secret(compose_variable(user))}"'"""


def _service(service: ServiceInfo) -> list[str]:
    return [
        f"{service.name}:",
        "  <<: *app",
        f"  command: [{service.name}]",
        "  environment:",
        "    <<: *nats",
        f"    FTGO_NATS_USER: {service.name}",
        f"    FTGO_NATS_PASSWORD: {_secret(compose_variable(service.name))}",
        f'    FTGO_PORT: "{service.port}"',
        f'    FTGO_ADMIN_PORT: "{ADMIN_PORT}"',
        f"    FTGO_DATABASE_URL: {_address(service, service.service_role)}",
        f"    FTGO_MIGRATIONS_URL: {_address(service, service.owner_role)}",
        f'  ports: ["${{FTGO_BIND:-127.0.0.1}}:${{FTGO_{service.name.upper()}_PORT:-{service.port}}}:{service.port}"]',
    ]


def _relay(service: ServiceInfo) -> list[str]:
    user = relay_user(service.name)
    return [
        f"{user}:",
        "  <<: *app",
        f"  command: [cdc, {service.name}]",
        "  environment:",
        "    <<: *relay",
        f"    FTGO_NATS_USER: {user}",
        f"    FTGO_NATS_PASSWORD: {_secret(compose_variable(user))}",
        f"    FTGO_RELAY_URL_{service.name.upper()}: {_address(service, service.relay_role)}",
    ]


def _address(service: ServiceInfo, role: str) -> str:
    return f"postgresql://{role}:{_secret('ROLE_PASSWORD')}@postgres/{service.database}"


def _secret(variable: str) -> str:
    """A password as the operator sets it, or the default one for developers."""
    return f"${{FTGO_{variable}:-{COMPOSE_PASSWORD}}}"


def _apart(items: Iterable[list[str]]) -> Iterator[str]:
    """The lines of all items, with an empty line between two items."""
    for number, lines in enumerate(items):
        if number:
            yield ""
        yield from lines
