"""Step diagrams of sagas: where each step leads when it is done and when it is refused, as the saga machine has it."""

from collections.abc import Iterator

from shared.core.messages import AnyCommand
from shared.saga.machine import Outcome, Phase, Position
from shared.saga.saga import Saga, Step
from tools.documents.catalogue import command_of, starters_of


def saga_diagram(saga: type[Saga]) -> str:
    """The saga as Mermaid text. The pivot is a hexagon, dotted lines lead back."""
    machine = saga.machine
    start = machine.start()
    starters = ", ".join(message.__name__ for message in starters_of(saga))
    nodes = {"started": f"([{starters}])"}
    arrows = [f"started --> {_name(start)}"]
    queue, seen = [start], {start}
    while queue:
        position = queue.pop(0)
        nodes[_name(position)] = _shape(saga, position)
        if position.finished:
            continue
        for outcome in Outcome:
            after = machine.advance(position, outcome)
            arrows.append(_arrow(saga, position, outcome, after))
            if after not in seen:
                seen.add(after)
                queue.append(after)
    lines = [f"{name}{shape}" for name, shape in nodes.items()] + arrows
    return "\n".join(["flowchart TB", *(f"    {line}" for line in lines)])


def actors_of(saga: type[Saga]) -> Iterator[str]:
    """The services that take part, in the order of the steps."""
    seen = [saga.service()]
    yield saga.service()
    for row in saga.table:
        for action in (row.action, row.undo):
            if action is not None and not row.is_local and (service := command_of(action).service()) not in seen:
                seen.append(service)
                yield service


def _name(position: Position) -> str:
    match position.phase:
        case Phase.FORWARD:
            return f"step{position.step + 1}"
        case Phase.UNDOING:
            return f"undo{position.step + 1}"
        case ended:
            return str(ended)


def _shape(saga: type[Saga], position: Position) -> str:
    if position.finished:
        return f"([{position.phase}])"
    row = saga.table[position.step]
    text = f"{position.step + 1} {_what(saga, row, position)}"
    return f'{{{{"{text}"}}}}' if row.is_pivot else f'["{text}"]'


def _what(saga: type[Saga], row: Step, position: Position) -> str:
    action = row.undo if position.phase is Phase.UNDOING else row.action
    assert action is not None
    if row.is_local:
        return f"{saga.service()}: {action.__name__.replace('_', ' ')}"
    command = command_of(action)
    return f"{command.service()}: {command.__name__}"


def _arrow(saga: type[Saga], position: Position, outcome: Outcome, after: Position) -> str:
    row = saga.table[position.step]
    if outcome is Outcome.REFUSED:
        if after == position:
            return f"{_name(position)} -. refused: tried again .-> {_name(after)}"
        return f"{_name(position)} -. refused .-> {_name(after)}"
    action = row.undo if position.phase is Phase.UNDOING else row.action
    assert action is not None
    label = "" if row.is_local else f"|{_reply(command_of(action))}|"
    return f"{_name(position)} -->{label} {_name(after)}"


def _reply(command: type[AnyCommand]) -> str:
    return command.reply_type().__name__
