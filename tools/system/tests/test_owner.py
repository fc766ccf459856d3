"""What is believed, used and removed of a folder: its own, and nothing of the folder that it is a copy of."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tools.system.embedded import postgres
from tools.system.embedded.postgres import remove_databases
from tools.system.owner import OWNER_FILE, Owner, owner_of, remove, take_into_use
from tools.system.process import LaunchError, birth_of
from tools.system.run_state import STATE_FILE, end_orphans, locked, read_state, write_state
from tools.system.system import remove_data


@pytest.fixture
def child() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that waits."""
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        yield process


@pytest.fixture
def home(tmp_path: Path, child: "subprocess.Popen[bytes]") -> Path:
    """The data folder of a system that runs: its supervisor is this process, and it has one child."""
    folder = tmp_path / "home"
    folder.mkdir()
    part = {"pid": child.pid, "birth": birth_of(child.pid), "port": 1, "url": "", "restarts": 0}
    write_state(folder, {"settings": {}, "parts": {"child": part}})
    return folder


def linked(home: Path, elsewhere: Path) -> Path:
    """Put the databases elsewhere, and into use; return where they are."""
    target = elsewhere / "data-1" / "postgres"
    target.mkdir(parents=True)
    (home / "postgres").symlink_to(target)
    (target / "data").touch()
    take_into_use(home / "postgres")
    return target


def copy_of(folder: Path) -> Path:
    return Path(shutil.copytree(folder, folder.with_name("copy"), symlinks=True))


def test_what_runs_is_known_also_after_the_clock_was_set(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: began + 5)
    state = read_state(home)
    assert state is not None
    assert state["pid"] == os.getpid()


def test_a_copy_does_not_take_the_originals_processes_for_its_own(home: Path, child: "subprocess.Popen[bytes]") -> None:
    copy = copy_of(home)
    assert read_state(copy) is None
    end_orphans(copy, patience=0.1)
    assert child.poll() is None
    end_orphans(home, patience=0.1)
    assert child.wait() != 0


def test_a_folder_that_was_moved_is_still_itself(home: Path) -> None:
    target = linked(home, home.parent)
    moved = home.rename(home.with_name("moved"))
    assert read_state(moved) is not None
    assert take_into_use(moved / "postgres") is None
    assert owner_of(target) == Owner.of(moved)


def test_a_copy_in_the_originals_place_is_not_the_original(home: Path) -> None:
    linked(home, home.parent)
    moved = home.rename(home.with_name("moved"))
    shutil.copytree(moved, home, symlinks=True)
    assert read_state(home) is None
    with pytest.raises(LaunchError, match="this is a copy"):
        take_into_use(home / "postgres")


def test_another_number_of_the_device_after_a_restart_is_no_copy(home: Path) -> None:
    owner = Owner.of(home)
    assert owner.is_same(replace(owner, device=owner.device + 1))
    assert not owner.is_same(replace(owner, device=owner.device + 1, path="/elsewhere"))
    assert not owner.is_same(replace(owner, inode=owner.inode + 1))


@pytest.mark.parametrize("key", ["pid", "birth", "owner", "parts"])
def test_a_state_that_is_another_ones_or_damaged_is_not_believed(home: Path, key: str) -> None:
    state = json.loads((home / STATE_FILE).read_text())
    wrong = {"pid": 1, "birth": "1 of-another boot", "owner": None, "parts": {"child": {"pid": 1}}}
    (home / STATE_FILE).write_text(json.dumps(state | {key: wrong[key]}))
    assert read_state(home) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"pid": 1, "created": 2.5, "parts": {}}'])
def test_a_damaged_state_ends_nothing_and_stops_nobody(home: Path, text: str, child: "subprocess.Popen[bytes]") -> None:
    (home / STATE_FILE).write_text(text)
    with locked(home):
        end_orphans(home)
    assert child.poll() is None


def test_data_that_a_link_leads_to_is_its_owners_only(home: Path) -> None:
    target = linked(home, home.parent)
    copy = copy_of(home)
    with pytest.raises(LaunchError, match=f"which belongs to {home}: this is a copy of that folder"):
        take_into_use(copy / "postgres")
    assert take_into_use(home / "postgres") is None
    (target / OWNER_FILE).unlink()  # what a person does where the original is no more
    take_into_use(copy / "postgres")
    with pytest.raises(LaunchError, match=f"which belongs to {copy}"):
        take_into_use(home / "postgres")


def test_a_copy_with_data_of_its_own_is_used(home: Path) -> None:
    (home / "postgres").mkdir()
    assert take_into_use(home / "postgres") is None
    copy = copy_of(home)
    assert take_into_use(copy / "postgres") == Owner.of(home)
    assert take_into_use(copy / "postgres") is None
    assert owner_of(home / "postgres") == Owner.of(home)


def test_a_copy_by_hard_links_is_refused(home: Path) -> None:
    (home / "postgres").mkdir()
    take_into_use(home / "postgres")
    copy = home.with_name("copy")
    shutil.copytree(home, copy, copy_function=os.link)
    with pytest.raises(LaunchError, match="shares its files with a copy by hard links"):
        take_into_use(copy / "postgres")
    assert take_into_use(home / "postgres") is None


def test_reset_in_a_copy_leaves_the_originals_data(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "SHARED_FOLDER", home.parent / "shared")
    target = linked(home, home.parent / "shared")
    copy = copy_of(home)
    assert remove_databases(copy) == target
    assert (target / "data").exists()
    assert not (copy / "postgres").is_symlink()
    assert remove_databases(home) is None
    assert list((home.parent / "shared").iterdir()) == []
    assert not (home / "postgres").is_symlink()


def test_an_interrupted_reset_can_be_repeated(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "SHARED_FOLDER", home.parent / "shared")
    target = linked(home, home.parent / "shared")
    (target / "0").mkdir()

    def interrupted(path: Path) -> None:
        for each in path.iterdir():
            each.rmdir() if each.is_dir() else each.unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as once, pytest.raises(KeyboardInterrupt):
        once.setattr(shutil, "rmtree", interrupted)
        remove_databases(home)
    assert remove_databases(home) is None
    assert list((home.parent / "shared").iterdir()) == []


def test_reset_removes_nothing_where_no_system_was(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "logs").mkdir()
    assert remove_data(tmp_path) == []
    assert {each.name for each in tmp_path.iterdir()} == {"postgres", "logs"}


def test_a_link_to_what_nobody_has_claimed_is_removed_alone(home: Path) -> None:
    (home.parent / "logs").mkdir()
    (home / "logs").symlink_to(home.parent / "logs")
    assert remove(home / "logs") == home.parent / "logs"
    assert (home.parent / "logs").is_dir()
