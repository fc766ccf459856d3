"""The saga machine, for all sagas there could be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.saga.machine import Machine, Outcome, Phase, Position, StepShape

DONE, REFUSED = Outcome.SUCCEEDED, Outcome.REFUSED


def machine(*steps: str) -> Machine:
    """Steps as letters: a acts, u undoes, p is the pivot."""
    return Machine([StepShape(acts="a" in step, undoes="u" in step, is_pivot="p" in step) for step in steps])


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    steps = draw(st.lists(st.sampled_from(["a", "u", "au"]), min_size=1, max_size=8))
    if draw(st.booleans()):
        steps.insert(draw(st.integers(0, len(steps))), "ap")
    return machine(*steps)


def test_forward_to_the_end() -> None:
    sagas = machine("u", "a", "au", "ap", "a")
    position = sagas.start()
    visited = []
    while not position.finished:
        visited.append(position.step)
        position = sagas.advance(position, DONE)
    assert visited == [1, 2, 3, 4]
    assert position == Position(4, Phase.COMPLETED)
    assert machine("a", "a").advance(Position(1), DONE) == Position(1, Phase.COMPLETED)


def test_back_in_reverse_past_what_has_no_way_back() -> None:
    sagas = machine("u", "au", "a", "au", "ap", "a")
    position = sagas.advance(Position(4), REFUSED)
    assert position == Position(3, Phase.UNDOING)
    position = sagas.advance(position, DONE)
    assert position == Position(1, Phase.UNDOING)
    position = sagas.advance(position, DONE)
    assert position == Position(0, Phase.UNDOING)
    assert sagas.advance(position, DONE) == Position(0, Phase.UNDONE)


def test_the_refused_step_itself_is_not_undone() -> None:
    assert machine("au", "au").advance(Position(1), REFUSED) == Position(0, Phase.UNDOING)
    assert machine("au", "au").advance(Position(0), REFUSED) == Position(0, Phase.UNDONE)


@pytest.mark.parametrize("position", [Position(3), Position(1, Phase.UNDOING)])
def test_behind_the_pivot_and_on_the_way_back_a_refused_step_is_tried_again(position: Position) -> None:
    assert machine("a", "au", "ap", "a").advance(position, REFUSED) == position


def test_without_a_pivot_every_step_turns_round() -> None:
    assert machine("au", "a", "a").advance(Position(2), REFUSED) == Position(0, Phase.UNDOING)


@given(machines())
def test_a_saga_whose_steps_all_succeed_takes_each_that_acts_once_in_order(sagas: Machine) -> None:
    position, visited = sagas.start(), []
    while not position.finished:
        visited.append(position.step)
        position = sagas.advance(position, DONE)
    assert visited == [index for index, step in enumerate(sagas.steps) if step.acts]
    assert position.phase is Phase.COMPLETED


@given(machines(), st.data())
def test_whatever_is_refused_a_saga_ends_with_all_done_or_all_undone(sagas: Machine, data: st.DataObject) -> None:
    position = sagas.start()
    done: list[int] = []
    undone: list[int] = []
    turned_at = None
    for last in range(100):
        if position.finished:
            break
        # At last everything succeeds: what must succeed does in the end.
        outcome = DONE if last > 60 else data.draw(st.sampled_from([DONE, DONE, REFUSED]))
        after = sagas.advance(position, outcome)
        if outcome is DONE:
            (done if position.phase is Phase.FORWARD else undone).append(position.step)
        elif position.phase is Phase.FORWARD and position.step <= sagas.pivot:
            turned_at = position.step
        else:
            assert after == position, "behind the pivot and when undoing there is no way but to try again"
        position = after
    if turned_at is None:
        assert position.phase is Phase.COMPLETED
        assert (done, undone) == ([index for index, step in enumerate(sagas.steps) if step.acts], [])
    else:
        assert position.phase is Phase.UNDONE
        assert done == [index for index, step in enumerate(sagas.steps) if step.acts and index < turned_at]
        assert undone == [index for index in reversed(range(turned_at)) if sagas.steps[index].undoes]


@given(machines(), st.sampled_from(Outcome), st.sampled_from([Phase.COMPLETED, Phase.UNDONE]))
def test_what_has_ended_has_ended(sagas: Machine, outcome: Outcome, phase: Phase) -> None:
    position = Position(0, phase)
    assert sagas.advance(position, outcome) == position
