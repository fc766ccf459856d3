"""Settings that make no sense together are refused before anything starts."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from kernel.topology import FTGO
from shared.core.application import Application
from shared.host.settings import ServiceSettings, what_is_wrong

GIVEN: dict[str, Any] = {"port": 1, "database_url": "postgresql://db/a", "migrations_url": "postgresql://db/a"}


def test_the_defaults_go_together() -> None:
    settings = ServiceSettings(application=FTGO, **GIVEN)
    assert settings.inbox_retention_seconds >= settings.outbox_retention_seconds + settings.stream_max_age_seconds


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"inbox_retention_seconds": 7 * 86400}, "FTGO_INBOX_RETENTION_SECONDS"),
        ({"outbox_retention_seconds": 2 * 86400}, "FTGO_INBOX_RETENTION_SECONDS"),
        ({"stream_max_age_seconds": 8 * 86400}, "FTGO_INBOX_RETENTION_SECONDS"),
        ({"saga_retention_seconds": 15 * 86400}, "FTGO_SAGA_RETENTION_SECONDS"),
    ],
)
def test_what_is_forgotten_before_it_can_come_again_is_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ServiceSettings(application=FTGO, **GIVEN, **settings)
    (line,) = what_is_wrong(FTGO, refused.value)
    assert line.startswith(named)
    assert "FTGO_OUTBOX_RETENTION_SECONDS + FTGO_STREAM_MAX_AGE_SECONDS" in line


def test_each_application_has_variables_and_secrets_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loans_nats_password").write_text("of loans")
    (tmp_path / "ftgo_nats_password").write_text("of ftgo")
    monkeypatch.setenv("LOANS_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("LOANS_BATCH_SIZE", "7")
    monkeypatch.setenv("FTGO_BATCH_SIZE", "9")
    loans = Application("loans")
    settings = ServiceSettings(application=loans, **GIVEN)
    assert settings.batch_size == 7
    assert settings.nats_password is not None
    assert settings.nats_password.get_secret_value() == "of loans"
    with pytest.raises(ValidationError) as refused:
        ServiceSettings(application=loans, **GIVEN, inbox_retention_seconds=1, attempts=0)
    with pytest.raises(ValidationError) as too_short:
        ServiceSettings(application=loans, **GIVEN, inbox_retention_seconds=1)
    lines = [*what_is_wrong(loans, refused.value), *what_is_wrong(loans, too_short.value)]
    assert [line.partition(" ")[0] for line in lines] == ["LOANS_ATTEMPTS:", "LOANS_INBOX_RETENTION_SECONDS"]
    assert "FTGO" not in "".join(lines)


def test_a_service_says_what_is_wrong_and_ends() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FTGO_")}
    ended = subprocess.run(
        [sys.executable, "-m", "order"],
        env={**environment, "FTGO_DATABASE_URL": "postgresql://db/a", "FTGO_MIGRATIONS_URL": "postgresql://db/a"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (2, "FTGO_PORT: Field required\n")
