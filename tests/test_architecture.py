"""The structure that the code promises: imports point inward, and services meet only at their contracts."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_import_contracts_are_kept() -> None:
    linted = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_ports_are_in_ports_and_nothing_else_is() -> None:
    for module in sorted(ROOT.glob("*/application/*.py")):
        classes = [node for node in ast.parse(module.read_text()).body if isinstance(node, ast.ClassDef)]
        ports = [each for each in classes if "Protocol" in map(ast.unparse, each.bases)]
        expected = classes if module.name == "ports.py" else []
        assert ports == expected, module
        assert ports or module.name != "ports.py", module
