"""The command line, `./ftgo`. Expected failures are one line and an exit code that isn't 0."""

import asyncio
import errno
import os
import sys
import time
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.table import Table

from kernel.topology import BY_NAME, FTGO, SERVICES
from shared.core.printable import printable
from shared.host.settings import what_is_wrong
from tools.bench.command import bench
from tools.chaos.command import chaos
from tools.demo.command import demo
from tools.documents.command import docs
from tools.explain.command import explain
from tools.printer import Printer
from tools.repair.command import parked, sagas
from tools.soak.command import soak
from tools.system.config import config
from tools.system.logs import logs
from tools.system.process import LaunchError, Program, require_free_port
from tools.system.run_state import read_state
from tools.system.status import status
from tools.system.supervisor import local_client
from tools.system.system import (
    ADMIN_PORTS,
    MAX_REPLICAS,
    RELAY,
    ROOT,
    Arrangement,
    System,
    SystemSettings,
    attached_system,
    program_of,
    remove_data,
)
from tools.terminal import Terminal
from tools.verify.command import verify

app = typer.Typer(
    name="ftgo",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="FTGO in Python: event-driven microservices that take food orders, with real PostgreSQL and NATS.",
)
console = Terminal()

PASSES_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": ["--help"]}
"""For commands whose further arguments are another program's."""

_WRONG_USER = "run as the user that it belongs to, or let this one read and write it"
_WRONG_KIND = "move it away, or choose another folder with FTGO_DATA_DIR"
_ADVICE = {
    errno.EACCES: _WRONG_USER,
    errno.EPERM: _WRONG_USER,
    errno.EROFS: "choose a folder that can be written to, with FTGO_DATA_DIR",
    errno.EEXIST: f"a folder is needed there: {_WRONG_KIND}",
    errno.EISDIR: _WRONG_KIND,
    errno.ELOOP: _WRONG_KIND,
    errno.ENAMETOOLONG: "choose a shorter one with FTGO_DATA_DIR",
    errno.ENOTDIR: _WRONG_KIND,
    errno.ENOSPC: "make room on that disk",
    errno.EDQUOT: "make room on that disk",
}
"""What to do when a folder can't be used. Anything else that the system says is a mistake of ours."""

SERVICE_NAMES = tuple(service.name for service in SERVICES)
READ_MODELS = tuple(service.name for service in SERVICES if not service.publishes)
_STANDARD_OUTPUT = 1
_STANDARD_FILES = (0, _STANDARD_OUTPUT, 2)
PortOffset = Annotated[
    int | None,
    typer.Option(help="Added to every port, to run beside another copy.", envvar="FTGO_PORT_OFFSET", min=0, max=40000),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        console.print(FTGO.releases.current.version)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, and exit.")
    ] = False,
) -> None:
    """Handle the options that come before a command."""


@app.command()
def up(
    without: Annotated[list[str] | None, typer.Option(help="Leave out a service, or 'relay': run it yourself.")] = None,
    replicas: Annotated[
        str, typer.Option(help="How many there are of a service or the relay, such as order=2,kitchen=2.")
    ] = "",
    partitions: Annotated[
        int | None,
        typer.Option(
            help="Partitions of the stream; kept as long as its data.", envvar="FTGO_PARTITIONS", min=1, max=64
        ),
    ] = None,
    port_offset: PortOffset = None,
) -> None:
    """Start the whole system and keep it running until Ctrl-C.

    PostgreSQL, NATS, the relay and all services run as separate processes; one that dies is started again. Data
    stays in .ftgo until 'reset'. The second replica of a service is called order-2 and listens 100 ports above the
    first one. Each partition of the stream is read by one replica of a service at a time; all replicas answer HTTP.

    Examples: `./ftgo up`   `./ftgo up --without order`   `./ftgo up --replicas order=2,kitchen=2 --partitions 2`
    """
    arrangement = Arrangement(without=[known_part(name) for name in without or []], replicas=replica_counts(replicas))
    if both := sorted(set(arrangement.without) & arrangement.replicas.keys()):
        raise LaunchError(f"{both[0]} can't be left out and have replicas")
    system = System(_system_settings(port_offset=port_offset, partitions=partitions), arrangement)
    began = time.monotonic()
    printer = Printer(_STANDARD_OUTPUT)
    terminal = Terminal(file=printer)

    async def run() -> None:
        async with local_client() as client:
            supervisor = system.supervisor(client, terminal)
            await supervisor.run(lambda: _print_places(system, time.monotonic() - began, terminal))

    terminal.print("Starting PostgreSQL, NATS, the relay and the services. Ctrl-C stops everything.")
    try:
        asyncio.run(run())
        terminal.print("Everything has stopped.")
    finally:
        printer.finish()


app.command()(status)
app.command()(logs)


@app.command()
def reset(yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False) -> None:
    """Remove all data, logs and passwords of the embedded system. The system must not run.

    Example: `./ftgo reset --yes`
    """
    folder = SystemSettings().data_dir
    if read_state(folder) is not None:
        raise LaunchError("the system runs: stop it first, with Ctrl-C where it was started")
    if not yes:
        typer.confirm(f"Remove all data, logs and passwords in {folder}?", abort=True)
    left = remove_data(folder)
    console.print("Removed. ./ftgo up starts with empty databases.")
    for path in left:
        console.print(
            f"{path} was left alone: nothing says that it is this folder's.", markup=False, emoji=False, soft_wrap=True
        )


@app.command()
def repartition(
    partitions: Annotated[int, typer.Argument(help="How many partitions the stream is to have.", min=1, max=64)],
    wait: Annotated[float, typer.Option(help="Seconds until everything must have been handled.", min=1)] = 60,
) -> None:
    """Change how many partitions the stream has, after everything in it has been handled. The system must not run.

    It starts the system once more, on ports that no client knows. It waits until no message is being processed and all
    checks of ./ftgo verify pass. If that fails, for example because messages are parked, nothing is changed.

    Example: `./ftgo repartition 4`
    """
    from tools.repartition import repartition as change

    asyncio.run(change(SystemSettings(), partitions, wait, console))


app.command()(config)


@app.command()
def service(name: Annotated[str, typer.Argument(help=", ".join(SERVICE_NAMES))]) -> None:
    """Run one service in the foreground.

    It uses FTGO_DATABASE_URL and the other variables if they are set, and the servers of the running 'up' otherwise.

    Example: `./ftgo up --without order` and, in a second terminal, `./ftgo service order`
    """
    if name not in BY_NAME:
        raise LaunchError(f"there is no service {name!r}: {', '.join(SERVICE_NAMES)}")
    if "FTGO_DATABASE_URL" in os.environ:
        os.environ.setdefault("FTGO_PORT", str(BY_NAME[name].port))
        _become((sys.executable, "-m", name), dict(os.environ))
    system = attached_system()
    require_free_port(system.port(BY_NAME[name]), name, system.settings.host)
    _become_program(system.service_program(BY_NAME[name]))


@app.command()
def relay(names: Annotated[list[str] | None, typer.Argument(help="Whose databases; all by default.")] = None) -> None:
    """Run one relay process in the foreground for the databases of the given services.

    It uses the FTGO_RELAY_URL_<SERVICE> variables if they are set, and the servers of the running 'up' otherwise.

    Example: `./ftgo up --without relay` and, in a second terminal, `./ftgo relay order consumer`
    """
    services = [BY_NAME[name] for name in names or SERVICE_NAMES if name in BY_NAME and BY_NAME[name].publishes]
    unknown = {*(names or [])} - {each.name for each in services}
    if unknown:
        raise LaunchError(f"no relay for {', '.join(sorted(unknown))}: it takes services that publish messages")
    if any(variable.startswith("FTGO_RELAY_URL_") for variable in os.environ):
        _become((sys.executable, "-m", "cdc", *(each.name for each in services)), dict(os.environ))
    system = attached_system()
    require_free_port(system.relay_port(), RELAY, system.settings.host)
    _become_program(system.relay_program(services))


@app.command()
def rebuild(name: Annotated[str, typer.Argument(help=", ".join(READ_MODELS))]) -> None:
    """Rebuild a read model from the owners' stored events, while the system keeps running.

    Queries use the old tables until the new ones replace them. If anything fails before that, the old ones stay. It
    uses the service's FTGO_DATABASE_URL, FTGO_MIGRATIONS_URL and so on if they are set, and the running 'up' otherwise.

    Examples: `./ftgo rebuild order_history`   `docker-compose exec order_history python -m order_history.rebuild`
    """
    if name not in READ_MODELS:
        raise LaunchError(f"{name!r} can't be built anew: {', '.join(READ_MODELS)}")
    if "FTGO_DATABASE_URL" in os.environ:
        os.environ.setdefault("FTGO_PORT", str(BY_NAME[name].port))
        _become((sys.executable, "-m", f"{name}.rebuild"), dict(os.environ))
    _become_program(attached_system().rebuild_program(BY_NAME[name]))


app.command()(demo)
app.command()(explain)
app.command()(docs)
app.command()(verify)
app.command()(chaos)
app.command()(soak)
app.add_typer(bench, name="bench")
app.add_typer(parked, name="parked")
app.add_typer(sagas, name="sagas")


@app.command(context_settings=PASSES_ON)
def test(context: typer.Context) -> None:
    """Run the tests; all arguments go to pytest. The full run uses several processes, a selection uses one.

    Examples: `./ftgo test`   `./ftgo test order/tests -k revise`   `./ftgo test features --real`
    """
    selects = any(not argument.startswith("-") for argument in context.args)
    # Tests of one file stay in one process: they may share a system. They mostly wait, so two processes suit one core.
    spread = () if selects else ("--numprocesses", str(min(4, max(2, os.cpu_count() or 2))), "--dist", "loadfile")
    _become((sys.executable, "-m", "pytest", *spread, *context.args), dict(os.environ))


@app.command(context_settings=PASSES_ON)
def features(context: typer.Context) -> None:
    """Run the feature scenarios against a system in memory, or with --url-base a running one. The rest goes to pytest.

    Scenarios that stop services, or need to know all data in the system, are left out for a running system, and
    counted as deselected.

    Examples: `./ftgo features`   `./ftgo features --url-base http://127.0.0.1`   `./ftgo features -m saga`
    """
    _become((sys.executable, "-m", "pytest", "features", *context.args), dict(os.environ))


def known_part(name: str) -> str:
    """Return the name if it belongs to a service or the relay. Raises LaunchError otherwise."""
    if name not in {*SERVICE_NAMES, RELAY}:
        raise LaunchError(f"there is no {name!r}: {', '.join(SERVICE_NAMES)}, {RELAY}")
    return name


def replica_counts(text: str) -> dict[str, int]:
    """Return the number of replicas of each part, from a list such as `order=2,kitchen=2`. May raise LaunchError."""
    counts: dict[str, int] = {}
    for item in filter(None, (each.strip() for each in text.split(","))):
        name, _, number = item.partition("=")
        if not number.isdecimal() or not 1 <= int(number) <= MAX_REPLICAS:
            raise LaunchError(
                f"--replicas is a list such as order=2,kitchen=2, up to {MAX_REPLICAS} of each: not {item!r}"
            )
        counts[known_part(name)] = int(number)
    return counts


def _system_settings(**given: int | None) -> SystemSettings:
    """Return the settings, overridden by those given on the command line."""
    return SystemSettings().model_copy(update={name: value for name, value in given.items() if value is not None})


def _become_program(program: Program) -> None:
    environment = dict(program.env)
    if sys.stdout.isatty():
        environment.setdefault("FTGO_LOG_FORMAT", "console")
    _become(program.argv, environment)


def _become(argv: tuple[str, ...], environment: dict[str, str]) -> None:
    """Replace this process with another program, so that signals and exit codes are that program's."""
    sys.stdout.flush()
    os.chdir(ROOT)
    os.execve(argv[0], argv, environment)  # noqa: S606 - our own program, no shell


def _print_places(system: System, seconds: float, terminal: Terminal) -> None:
    table = Table("", "where", "", box=None, header_style="dim")
    state = read_state(system.folder)
    for name, part in state["parts"].items() if state else ():
        table.add_row(name, part["url"], f"{part['url']}/docs" if program_of(name) in BY_NAME else "")
    terminal.print(table)
    terminal.print(
        f"Logs are in {system.folder / 'logs'}, passwords in {system.folder / 'secrets.json'}.",
        markup=False,
        soft_wrap=True,
    )
    terminal.print(
        f"What waits for a person is at each service's port plus {ADMIN_PORTS}, for this machine only, and in"
        " ./ftgo parked and ./ftgo sagas.",
        soft_wrap=True,
    )
    terminal.print(f"[green]Ready[/] after {seconds:.1f} s. Ctrl-C stops everything.")


def _open_standard_files() -> None:
    """Open /dev/null for closed standard files (`>&-`). Else another file gets the number, and all printed text."""
    for descriptor in _STANDARD_FILES:
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def main() -> None:
    """Run the command line."""
    _open_standard_files()
    try:
        app(prog_name="./ftgo")
    except LaunchError as error:
        sys.exit(f"ftgo: {printable(str(error))}")
    except ValidationError as error:
        sys.exit(f"ftgo: {next(what_is_wrong(FTGO, error))}")
    except OSError as error:
        if error.errno not in _ADVICE or (error.filename is None and error.errno != errno.ENOSPC):
            raise
        sys.exit(f"ftgo: {error.filename or 'a file'}: {error.strerror}: {_ADVICE[error.errno]}")
    except KeyboardInterrupt:
        sys.exit(130)
