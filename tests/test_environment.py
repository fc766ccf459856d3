"""What of a shell's environment reaches a process of ours."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernel.environment import is_foreign
from kernel.topology import SERVICES
from tools.system.system import ROOT

PROGRAMS = [
    *(f"{service.name}/__main__.py" for service in SERVICES),
    "cdc/__main__.py",
    "order_history/rebuild.py",
    "tools/__main__.py",
]


@pytest.mark.parametrize(
    "variable",
    [
        "PGHOSTADDR",
        "PGSERVICE",
        "PGPASSFILE",
        "NATS_URL",
        "OTEL_PROPAGATORS",
        "UVICORN_PORT",
        "PYTHONPATH",
        "https_proxy",
    ],
)
def test_a_setting_of_another_program_is_foreign(variable: str) -> None:
    assert is_foreign(variable)


@pytest.mark.parametrize(
    "variable", ["FTGO_PORT", "PATH", "HOME", "TMPDIR", "OTEL_EXPORTER_OTLP_ENDPOINT", "PGSSLMODE", "PGSSLROOTCERT"]
)
def test_ours_and_what_is_documented_stays(variable: str) -> None:
    assert not is_foreign(variable)


def test_foreign_settings_are_gone_after_the_import() -> None:
    code = "import json, os, kernel.environment; print(json.dumps(dict(os.environ)))"
    given = {"PATH": os.environ["PATH"], "FTGO_PORT": "1", "PGHOST": "elsewhere", "http_proxy": "elsewhere"}
    done = subprocess.run([sys.executable, "-c", code], env=given, cwd=ROOT, capture_output=True, check=True)
    left = json.loads(done.stdout)
    assert {"PATH", "FTGO_PORT"} <= left.keys()
    assert {"PGHOST", "http_proxy"}.isdisjoint(left)


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_program_forgets_them_before_it_imports_what_reads_them(program: str) -> None:
    imports = [
        each
        for each in ast.parse(Path(ROOT, program).read_text()).body
        if isinstance(each, ast.Import | ast.ImportFrom)
    ]
    names = [each.module if isinstance(each, ast.ImportFrom) else each.names[0].name for each in imports]
    first = next(name for name in names if name is not None and name not in sys.stdlib_module_names)
    assert first == "kernel.environment"
