"""The saga machine: where a saga stands and where it goes next. Pure: no messages, no database, no clock.

Microservices Patterns, section 4.3.2: steps before the pivot can be compensated, those after it are retried.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """Which way a saga goes, or how it ended."""

    FORWARD = "forward"
    UNDOING = "undoing"
    COMPLETED = "completed"
    UNDONE = "undone"


class Outcome(StrEnum):
    """How a step went."""

    SUCCEEDED = "succeeded"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Position:
    """The step a saga is at, counted from 0, and the way it goes."""

    step: int
    phase: Phase = Phase.FORWARD

    @property
    def finished(self) -> bool:
        """Nothing more will happen."""
        return self.phase in (Phase.COMPLETED, Phase.UNDONE)


@dataclass(frozen=True, slots=True)
class StepShape:
    """What the machine needs to know of a step."""

    acts: bool
    undoes: bool
    is_pivot: bool


@dataclass(frozen=True)
class Machine:
    """The way through the steps of one saga.

    Without a pivot every step can still be undone.
    """

    steps: Sequence[StepShape]

    @property
    def pivot(self) -> int:
        """The last step whose refusal undoes the saga; none lies behind it without one."""
        return next((index for index, step in enumerate(self.steps) if step.is_pivot), len(self.steps))

    def start(self) -> Position:
        """Return the first step that acts."""
        return self._forward(0)

    def advance(self, position: Position, outcome: Outcome) -> Position:
        """Return where the saga is after that outcome. The same position again means that the step must be tried again."""
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
