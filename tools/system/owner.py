"""Records which data folder owns a folder.

A copy of a data folder, or a backup that was restored, also contains the original's state files, and its links lead
to the original's data. So each such file names the folder it was written for, and is valid for no other.
"""

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from tools.system.process import LaunchError

OWNER_FILE = "owner.json"


@dataclass(frozen=True)
class Owner:
    """A data folder as this machine knows it: a copy has another inode, one that was only moved has the same."""

    path: str
    device: int
    inode: int

    @classmethod
    def of(cls, folder: Path) -> "Owner":
        """Return the owner record of an existing folder."""
        real = folder.resolve()
        status = real.stat()
        path = os.fsencode(real).decode(errors="backslashreplace")  # for people, and JSON is Unicode
        return cls(path, status.st_dev, status.st_ino)

    def is_same(self, other: "Owner") -> bool:
        """Tell whether both are the same folder. Device numbers may change when the machine restarts."""
        return self.inode == other.inode and (self.device == other.device or self.path == other.path)


def owner_of(folder: Path) -> Owner | None:
    """Return the owner of `folder`; None when it isn't claimed. Raises LaunchError when the owner file is damaged."""
    file = folder / OWNER_FILE
    try:
        return TypeAdapter(Owner).validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        raise LaunchError(f"{file} is damaged: remove it if {folder} belongs to no other system") from None


def claim(folder: Path, owner: Owner) -> None:
    """Record the owner of `folder`."""
    unfinished = folder / f"{OWNER_FILE}.new"
    unfinished.write_text(json.dumps(asdict(owner)) + "\n")
    unfinished.replace(folder / OWNER_FILE)


def take_into_use(folder: Path) -> Owner | None:
    """Claim a folder for the data folder that it's in, or that has a link to it. After a copy, return the former owner.

    Raises LaunchError, and changes nothing, when it links to, or shares files with, what another data folder owns.
    """
    owner, former = Owner.of(folder.parent), owner_of(folder)
    if former == owner:
        return None
    copied = former is not None and not former.is_same(owner)
    if copied and folder.is_symlink():
        assert former is not None
        raise LaunchError(
            f"{folder} leads to {folder.resolve()}, which belongs to {former.path}: this is a copy of that folder."
            " ./ftgo reset gives it empty databases of its own, and touches nothing of the other."
            f" If there is no other any more, remove {folder.resolve() / OWNER_FILE} to go on with its data"
        )
    if copied and (folder / OWNER_FILE).stat().st_nlink > 1:
        raise LaunchError(f"{folder} shares its files with a copy by hard links: copy it with cp -a, or ./ftgo reset")
    claim(folder, owner)
    return former if copied else None


def remove(folder: Path) -> Path | None:
    """Remove what is in a data folder: a folder, or a link with what it leads to. Return what was kept, as it
    belongs to another data folder.

    It can be repeated after an interruption.
    """
    if not folder.is_symlink():
        _remove(folder)
        return None
    target, left = Path(os.path.realpath(folder)), None  # also when the link leads nowhere, or to itself
    if target.is_dir():
        owner = owner_of(target)
        if owner is not None and owner.is_same(Owner.of(folder.parent)):
            for each in target.iterdir():
                if each.name != OWNER_FILE:  # otherwise the owner of the rest would be unknown
                    _remove(each)
            shutil.rmtree(target)
        else:
            left = target
    folder.unlink()
    return left


def _remove(path: Path) -> None:
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    try:
        shutil.rmtree(path)
    except OSError as error:  # its message names an inner file without its folder
        raise OSError(error.errno, error.strerror, str(path)) from error
