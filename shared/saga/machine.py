"""The saga machine: decides the next position of a saga. A pure function: no messages, no database, no clock.

Microservices Patterns, section 4.3.2: steps before the pivot can be compensated, those after it are retried.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """The direction a saga goes in, or how it ended."""

    FORWARD = "forward"
    UNDOING = "undoing"
    COMPLETED = "completed"
    UNDONE = "undone"


class Outcome(StrEnum):
    """The result of a step."""

    SUCCEEDED = "succeeded"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Position:
    """The step a saga is at, counted from 0, and its phase."""

    step: int
    phase: Phase = Phase.FORWARD

    @property
    def finished(self) -> bool:
        """Whether the saga has ended."""
        return self.phase in (Phase.COMPLETED, Phase.UNDONE)


@dataclass(frozen=True, slots=True)
class StepShape:
    """The properties of a step that the machine needs."""

    acts: bool
    undoes: bool
    is_pivot: bool


@dataclass(frozen=True)
class Machine:
    """The order of the steps of one saga.

    Without a pivot every step can be undone.
    """

    steps: Sequence[StepShape]

    @property
    def pivot(self) -> int:
        """The index of the last step whose refusal undoes the saga; the number of steps if there is no pivot."""
        return next((index for index, step in enumerate(self.steps) if step.is_pivot), len(self.steps))

    def start(self) -> Position:
        """Return the position of the first step that acts."""
        return self._forward(0)

    def advance(self, position: Position, outcome: Outcome) -> Position:
        """Return the saga's position after that outcome. The same position means: try the step again."""
        if position.finished:
            return position
        match position.phase, outcome:
            case Phase.FORWARD, Outcome.SUCCEEDED:
                return self._forward(position.step + 1)
            case Phase.FORWARD, Outcome.REFUSED if position.step <= self.pivot:
                return self._backward(position.step - 1)
            case Phase.UNDOING, Outcome.SUCCEEDED:
                return self._backward(position.step - 1)
        return position

    def _forward(self, step: int) -> Position:
        while step < len(self.steps) and not self.steps[step].acts:
            step += 1
        return Position(step) if step < len(self.steps) else Position(len(self.steps) - 1, Phase.COMPLETED)

    def _backward(self, step: int) -> Position:
        while step >= 0 and not self.steps[step].undoes:
            step -= 1
        return Position(step, Phase.UNDOING) if step >= 0 else Position(0, Phase.UNDONE)
