"""The connections of all programs together."""

from pathlib import Path

import httpx
import psycopg2
import pytest
from psycopg2 import OperationalError

from kernel.topology import FTGO, SERVICES
from shared.core.service_info import ServiceInfo
from shared.host.provision import provision, roles_of
from shared.host.settings import PoolSettings
from tests.support.infra import Infra, drop_database
from tools.system.connections import FOR_PEOPLE, Connections, needed, shortage
from tools.system.process import LaunchError
from tools.system.system import Arrangement, System, SystemSettings

PUBLISHING = sum(service.publishes for service in SERVICES)


def test_every_replica_counts() -> None:
    pools = PoolSettings(application=FTGO, pool_size=4, partitions=2)
    one = needed({}, 1, pools)
    assert one == Connections(sessions=len(SERVICES) * 7 + PUBLISHING * 2, senders=PUBLISHING * 2)
    assert needed({"order": 3}, 2, pools) == Connections(one.sessions + 2 * 7 + PUBLISHING * 2, senders=PUBLISHING * 3)
    assert needed({"order": 0}, 0, pools) == Connections((len(SERVICES) - 1) * 7, senders=0)


def test_people_keep_some() -> None:
    assert shortage(Connections(50, 12), Connections(50 + FOR_PEOPLE, 12)) is None
    assert "max_connections is 69" in str(shortage(Connections(50, 12), Connections(49 + FOR_PEOPLE, 12)))
    assert "max_wal_senders, 11" in str(shortage(Connections(50, 12), Connections(100, 11)))


async def test_a_system_that_postgresql_could_not_serve_is_not_started(tmp_path: Path) -> None:
    crowd = Arrangement(replicas={service.name: 4 for service in SERVICES})
    async with httpx.AsyncClient() as client:
        system = System(SystemSettings(data_dir=tmp_path, partitions=8), crowd)
        most = needed(dict.fromkeys(crowd.replicas, 4), 1, PoolSettings(application=FTGO, partitions=8)).sessions
        with pytest.raises(LaunchError, match=rf"take up to {most} connections.*max_connections is 200"):
            system.groups(client)


def test_a_role_can_not_take_all_connections(infra: Infra) -> None:
    greedy = ServiceInfo("greedy", 1, "greedy", FTGO)
    database = provision(infra.admin_url, dict.fromkeys(roles_of(greedy), "x"), [greedy], max_connections=1)["greedy"]
    try:
        first = psycopg2.connect(database.url)
        with pytest.raises(OperationalError, match="too many connections for role"):
            psycopg2.connect(database.url)
        first.close()
    finally:
        drop_database(infra.admin_url, "greedy")
