"""`./ftgo config`: lists all settings; secrets are not shown."""

import re

from pydantic import SecretStr
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings, EnvSettingsSource, SecretsSettingsSource
from rich.table import Table

from kernel.topology import FTGO
from shared.host.provision import ProvisionSettings
from shared.host.settings import RelaySettings, ServiceSettings, secrets_dir
from tools.system.system import SystemSettings
from tools.terminal import Terminal, as_text

console = Terminal()


def config() -> None:
    """Print every setting: its environment variable, default, present value and meaning.

    Example: `./ftgo config`
    """
    shown: set[str] = set()
    for title, model in (
        ("up, status, logs, reset, demo", SystemSettings),
        ("every service", ServiceSettings),
        ("relay", RelaySettings),
        ("python -m tools.system.provision", ProvisionSettings),
    ):
        table = Table(title=title, title_justify="left", title_style="bold", box=None, header_style="dim")
        table.add_column("variable", no_wrap=True)
        for column in ("default", "value", "meaning"):
            table.add_column(column, overflow="fold")
        for row in _settings_rows(model):
            if row[0] not in shown or (model is RelaySettings and row[0] == "FTGO_PORT"):
                table.add_row(*map(as_text, row))
                shown.add(row[0])
        console.print(table, "")


def _settings_rows(model: type[BaseSettings]) -> list[tuple[str, str, str, str]]:
    """Return variable, default, present value and meaning of each setting; secrets are not shown."""
    prefix = FTGO.environment_prefix
    secrets = SecretsSettingsSource(model, secrets_dir=secrets_dir(FTGO), env_prefix=prefix)
    present = {**secrets(), **EnvSettingsSource(model, env_prefix=prefix)()}
    rows = []
    for name, setting in model.model_fields.items():
        if setting.exclude:
            continue  # given, not looked up
        default = (
            "(required)"
            if setting.default is PydanticUndefined
            else _shown(setting.get_default(call_default_factory=True))
        )
        if setting.default_factory is not None:
            default = ""
        value = ""
        if name in present:
            value = "********" if "Secret" in str(setting.annotation) else _shown(present[name])
        rows.append((f"{prefix}{name.upper()}", default, value, setting.description or ""))
    return rows


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return "********"
    without_user = re.sub(r"(?<=://)([^:@/]*):[^/]*@", r"\1:********@", str(value))
    return re.sub(r"(?<=[?&]password=)[^&]*", "********", without_user)
