"""What the pages of the site's reference list is what the package has."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from airflow_provider_neptune_ml import simulator
from airflow_provider_neptune_ml.kinds import ALL_KINDS, Phase
from airflow_provider_neptune_ml.links import neptune_ml as links
from airflow_provider_neptune_ml.simulator.settings import Settings

FOLDER = Path(__file__).parent.parent / "docs" / "reference"
ROWS = re.findall(
    r"^\| `(\w+)` \| (.*) \| (.*) \| (.*) \|$", (FOLDER / "statuses.md").read_text(), re.MULTILINE
)


def test_every_kind_has_a_row_of_statuses() -> None:
    """The table of statuses has the kinds, in their order."""
    assert [row[0] for row in ROWS] == list(ALL_KINDS)


@pytest.mark.parametrize(("kind", "success", "failure", "non_terminal"), ROWS, ids=[row[0] for row in ROWS])
def test_statuses_are_those_of_the_kind(kind: str, success: str, failure: str, non_terminal: str) -> None:
    """A row has each status word of its kind, with what it means."""
    statuses = ALL_KINDS[kind].statuses
    success_words, failure_words, other_words = (
        re.findall(r"`(\w+)`", cell) for cell in (success, failure, non_terminal)
    )

    assert success_words == [word for word, phase in statuses.terminal.items() if phase is Phase.SUCCEEDED]
    assert failure_words == [word for word, phase in statuses.terminal.items() if phase is Phase.FAILED]
    assert sorted(other_words) == sorted(statuses.non_terminal)


def test_every_link_is_in_the_reference() -> None:
    """The page of links names each of them, in their order, and their base."""
    named = re.findall(r"^ +- (\w+)$", (FOLDER / "links.md").read_text(), re.MULTILINE)

    known: tuple[type, ...] = (*links.LINKS, links.NeptuneMLLink)
    assert named == [link.__name__ for link in known]


def test_every_class_of_the_simulator_is_in_the_reference() -> None:
    """The page of the simulator has each public name of it, and the settings."""
    named = re.findall(r"^::: (\S+)$", (FOLDER / "simulator.md").read_text(), re.MULTILINE)
    public = [Settings, *(getattr(simulator, name) for name in simulator.__all__)]

    assert sorted(named) == sorted(f"{cls.__module__}.{cls.__qualname__}" for cls in public)


def test_arguments_of_the_simulator_are_documented() -> None:
    """Each public method of the simulator documents its arguments, and no others."""
    methods = {
        name: method
        for name, method in inspect.getmembers(simulator.Simulator, inspect.isfunction)
        if not name.startswith("_") and name not in vars(Settings)
    }
    documented = {
        name: re.findall(r":param (\w+):", method.__doc__ or "") for name, method in methods.items()
    }

    assert documented == {
        name: [each for each in inspect.signature(method).parameters if each != "self"]
        for name, method in methods.items()
    }
