"""`./ftgo docs`: writes the documents that are made from the code."""

import os
import sys

import typer

from kernel.traffic import TRAFFIC
from tools.system.system import ROOT
from tools.terminal import Terminal

console = Terminal()


def docs() -> None:
    """Write what is made from the code: the message catalogue, the diagrams, the messages' versions, NATS's users.

    It also writes the lines of pyproject.toml, docker-compose.yml and docker/ that name every service. Where a message
    has changed so that some readers can't read it any more, it says what to do and writes nothing.

    Example: `./ftgo docs`
    """
    # Imported here because it loads all the code that services are made of, which no other command needs.
    from tools.documents.files import documents, incompatible_changes

    if wrong := incompatible_changes():
        for each in wrong:
            console.print(str(each), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1)
    changed = {path: text for path, text in documents().items() if not path.exists() or path.read_text() != text}
    for path, text in changed.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        console.print(str(path.relative_to(ROOT)))
    if TRAFFIC in changed:  # this process still has the old version of it, and other documents depend on it
        os.execv(sys.executable, [sys.executable, "-m", "tools", "docs"])  # noqa: S606 - restarts itself
    if not changed:
        console.print("Everything is as the code has it.")
