"""The features are for people who do not program, and each scenario says what it is about."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_bdd.feature import get_features
from pytest_bdd.parser import Feature, ScenarioTemplate

from kernel.topology import BY_NAME

FOLDER = Path(__file__).parent
SERVICES = set(BY_NAME)
KINDS = {"command", "query", "policy", "saga"}
TECHNICAL = re.compile(
    r"[{}]|\b[1-5]\d\d\b|\b(?:ids?|uuid|json|http|url|api|status code|database|sql)\b|\b(?:GET|POST|PUT|DELETE)\b"
)


def scenarios() -> Iterator[tuple[Feature, ScenarioTemplate]]:
    for feature in get_features([str(FOLDER)]):
        for scenario in feature.scenarios.values():
            yield feature, scenario


def test_each_scenario_has_the_tag_of_a_service_and_of_a_kind() -> None:
    for feature, scenario in scenarios():
        tags = scenario.tags | feature.tags | (scenario.rule.tags if scenario.rule else set())
        assert len(tags & SERVICES) == 1, f"{feature.name}: {scenario.name} is of {tags & SERVICES or 'no service'}"
        assert len(tags & KINDS) == 1, f"{feature.name}: {scenario.name} is {tags & KINDS or 'of no kind'}"
        assert tags <= SERVICES | KINDS | {"own_system"}, f"{feature.name}: {scenario.name} has an unknown tag"


@pytest.mark.parametrize("file", sorted(FOLDER.rglob("*.feature")), ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_nothing_technical_is_in_a_feature(file: Path) -> None:
    found = [line.strip() for line in file.read_text().splitlines() if TECHNICAL.search(line)]
    assert not found


def test_every_folder_is_bound() -> None:
    folders = {file.parent.name for file in FOLDER.rglob("*.feature")}
    assert folders == {file.stem.removeprefix("test_") for file in FOLDER.glob("test_*.py")} - {"language"}
