"""`./ftgo` itself: it makes the environment, and runs the command line in it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT

TOOLS = ("cat", "chmod", "cmp", "cp", "dirname", "mkdir", "readlink", "rm")

UV = """#!/bin/sh
echo "$@" >>"$(dirname "$0")/uv.calls"
case $1 in
venv)
    for environment; do :; done
    mkdir -p "$environment/bin"
    printf '#!/bin/sh\\n[ "$1" = -c ] || echo "runs $*"\\n' >"$environment/bin/python"
    chmod +x "$environment/bin/python" ;;
pip) [ ! -e "$(dirname "$0")/uv.fails" ] ;;
esac
"""


class Machine:
    """A folder with the script, and a PATH with nothing but what we put there."""

    def __init__(self, folder: Path) -> None:
        self.project, self.path = folder / "project", folder / "path"
        self.project.mkdir()
        self.path.mkdir()
        shutil.copy(ROOT / "ftgo", self.project)
        (self.project / "requirements.lock").touch()
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found is not None
            (self.path / tool).symlink_to(found)
        self.program("uv", UV)

    def program(self, name: str, text: str) -> None:
        """Put a program there."""
        (self.path / name).write_text(text)
        (self.path / name).chmod(0o755)

    def ftgo(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run the script."""
        command = ["/bin/sh", str(self.project / "ftgo"), *arguments]
        return subprocess.run(
            command, env={"PATH": str(self.path)}, cwd="/", capture_output=True, text=True, check=False
        )

    @property
    def uv_calls(self) -> list[str]:
        """What uv was asked, but for its version."""
        calls = self.path / "uv.calls"
        return [call for call in calls.read_text().splitlines() if call != "--version"] if calls.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine without Python."""
    return Machine(tmp_path)


def test_the_environment_is_made_once_and_of_the_very_python_that_was_found(machine: Machine) -> None:
    machine.program("python3", "#!/bin/sh\nexit 1\n")
    machine.program("python3.11", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    for _ in range(2):
        run = machine.ftgo("status", "a word")
        assert (run.returncode, run.stdout) == (0, "runs -E -X utf8 -m tools status a word\n"), run.stderr
    assert len(machine.uv_calls) == 2
    (venv,) = (call for call in machine.uv_calls if call.startswith("venv"))
    assert f"--python {sys.executable} " in venv


def test_other_packages_are_installed_into_the_environment_that_is_there(machine: Machine) -> None:
    (machine.path / "python3").symlink_to(sys.executable)
    machine.ftgo()
    (machine.project / "requirements.lock").write_text("# more\n")
    assert machine.ftgo().returncode == 0
    assert [call.split()[0] for call in machine.uv_calls] == ["venv", "pip", "pip"]


def test_packages_that_could_not_be_installed_are_tried_again(machine: Machine) -> None:
    (machine.path / "python3").symlink_to(sys.executable)
    (machine.path / "uv.fails").touch()
    failed = machine.ftgo()
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.endswith("ftgo: the packages could not be installed: uv's lines above say why\n")
    (machine.path / "uv.fails").unlink()
    assert machine.ftgo().returncode == 0


@pytest.mark.parametrize("python", [None, "#!/bin/sh\necho /old/python3\nexit 1\n"], ids=["none", "an old one"])
def test_a_machine_without_a_new_enough_python_is_told_what_to_install(machine: Machine, python: str | None) -> None:
    if python is not None:
        machine.program("python3", python)
    run = machine.ftgo()
    assert run.returncode == 1
    assert run.stderr.startswith("ftgo: Python 3.11 or newer is needed and none was found: install it")
    assert not (machine.project / ".venv").exists()
    assert machine.uv_calls == []
