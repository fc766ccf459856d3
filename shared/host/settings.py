"""The settings of services and relays: environment variables, or files of those names in a secrets folder.

Their names begin with the application's name: `LOANS_NATS_URL` is the setting `nats_url` of the application `loans`.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PostgresDsn, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.core.application import Application


def secrets_dir(application: Application) -> str | None:
    """Return the folder with files of secrets, if there is one."""
    folder = os.environ.get(f"{application.environment_prefix}SECRETS_DIR", "/run/secrets")
    return folder if Path(folder).is_dir() else None


class ApplicationSettings(BaseSettings):
    """Settings of one application's processes. What is not given is looked up; raises pydantic's ValidationError."""

    model_config = SettingsConfigDict(
        extra="ignore",
        hide_input_in_errors=True,  # it may be a password, or an address with one
    )

    application: Application = Field(exclude=True)

    def __init__(self, *, application: Application, **given: Any) -> None:
        super().__init__(
            _env_prefix=application.environment_prefix,
            _secrets_dir=secrets_dir(application),
            application=application,
            **given,
        )


class Settings(ApplicationSettings):
    """What services and relays have in common."""

    host: str = Field("127.0.0.1", description="Address that HTTP servers listen on.")
    nats_url: str = Field("nats://127.0.0.1:4222", description="Where NATS is.")
    nats_user: str | None = Field(None, description="User name for NATS; empty where it asks for none.")
    nats_password: SecretStr | None = Field(None, description="Password for NATS.")
    nats_ca_file: Path | None = Field(None, description="Authority of NATS's certificate: then TLS only.")
    partitions: int = Field(1, ge=1, le=64, description="Partitions of the stream; the same in every process.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged at the least.")
    log_format: Literal["console", "json"] = Field("json", description="Log lines for people or for machines.")
    trace_ratio: float = Field(1.0, ge=0, le=1, description="Share of traces recorded when an OTLP endpoint is set.")
    drain_seconds: float = Field(
        0.0, ge=0, description="How long requests are still taken after SIGTERM, until load balancers know."
    )
    shutdown_seconds: float = Field(10.0, gt=0, description="How long in-flight work may take after that.")
    outbox_retention_seconds: float = Field(
        86400, gt=0, description="How long published rows stay in the outbox; the same in every process."
    )
    stream_max_age_seconds: float = Field(
        7 * 86400, gt=0, description="How long the stream keeps messages; the same in every process."
    )


class PoolSettings(Settings):
    """What decides how many connections a service has to its database."""

    pool_size: int = Field(4, ge=2, description="Connections to the database, the subscription's own not counted.")


class ServiceSettings(PoolSettings):
    """A service's settings. Durations are seconds."""

    port: int = Field(description="Port of the HTTP API.")
    admin_host: str = Field("127.0.0.1", description="Address of the port for operators: nobody has to log in there.")
    admin_port: int | None = Field(None, ge=0, description="Port of /admin; none, or 0: there is none.")
    database_url: PostgresDsn = Field(description="The service's database, as its own role.")
    migrations_url: PostgresDsn = Field(description="The same database, as the role that owns the tables.")
    max_requests: int = Field(1500, ge=1, description="HTTP requests at once; what is beyond is answered 503.")

    batch_size: int = Field(200, ge=1, description="Messages, or HTTP commands, that share one transaction at most.")
    lease_seconds: float = Field(4.0, gt=0, description="How long a stopped holder keeps a partition.")
    grace_seconds: float = Field(5.0, ge=0, description="How long a message waits for what it names to become known.")
    retry_seconds: float = Field(0.5, gt=0, description="Pause before a failed message is tried again; it doubles.")
    max_parked: int = Field(10_000, ge=1, description="Parked messages with which a subscription reads no more.")
    attempts: int = Field(5, ge=1, description="Tries before a message is parked.")
    step_timeout_seconds: float = Field(30.0, gt=0, description="Wait for a saga's reply before its command is resent.")
    saga_attempts: int = Field(8, ge=1, description="Tries of a step that must succeed before its saga is stuck.")
    inbox_retention_seconds: float = Field(8 * 86400, gt=0, description="How long handled messages are remembered.")
    saga_retention_seconds: float = Field(16 * 86400, gt=0, description="How long sagas are kept after their end.")
    idempotency_retention_seconds: float = Field(86400, gt=0, description="How long idempotency keys are kept.")

    @model_validator(mode="after")
    def _remember_for_longer_than_others_repeat(self) -> Self:
        """A message can be published again as long as the outbox has it, and read as long as the stream has that."""
        prefix = self.application.environment_prefix
        repeated = self.outbox_retention_seconds + self.stream_max_age_seconds
        if self.inbox_retention_seconds < repeated:
            raise ValueError(
                f"{prefix}INBOX_RETENTION_SECONDS ({self.inbox_retention_seconds:g}) is shorter than a message can be"
                f" repeated: {prefix}OUTBOX_RETENTION_SECONDS + {prefix}STREAM_MAX_AGE_SECONDS"
                f" ({repeated:g}); what is forgotten too early acts twice"
            )
        # A saga's last command can be repeated for that long, and then the reply to the repeat once more.
        if self.saga_retention_seconds < 2 * repeated:
            raise ValueError(
                f"{prefix}SAGA_RETENTION_SECONDS ({self.saga_retention_seconds:g}) is shorter than a late reply can"
                f" take: twice {prefix}OUTBOX_RETENTION_SECONDS + {prefix}STREAM_MAX_AGE_SECONDS ({2 * repeated:g});"
                " it would find no saga and be parked"
            )
        return self


class RelaySettings(Settings):
    """A relay process's settings. Durations are seconds."""

    port: int = Field(8090, description="Port of the relay's /ping, /readyz and /metrics.")
    stream_max_bytes: int = Field(4 << 30, gt=0, description="Size at which the stream refuses new messages.")
    duplicate_window_seconds: float = Field(
        120.0, ge=0.1, description="How long the stream drops what is published again; receivers do so for longer."
    )
    wal_sender_timeout_seconds: float = Field(60.0, gt=0, description="Silence after which PostgreSQL drops a relay.")


def what_is_wrong(application: Application, invalid: ValidationError) -> Iterator[str]:
    """Yield one line per setting that is missing or makes no sense."""
    prefix = application.environment_prefix
    for error in invalid.errors():
        variable = prefix + "_".join(map(str, error["loc"])).upper() + ": " if error["loc"] else ""
        yield variable + error["msg"].removeprefix("Value error, ")
