"""What the benchmarks write down: a table of goals and a picture, whatever was measured."""

import math
from pathlib import Path

import pytest

from benchmarks.results import Goal, Section, record


@pytest.mark.parametrize(
    ("limit", "found", "share"), [(2, 1, 0.5), (2, 4, 2), (0, 0, 0), (0, 1, math.inf)]
)
def test_share(limit: float, found: float, share: float) -> None:
    goal = Goal(what="failed clients", limit=limit, found=found)
    assert goal.share == share
    assert goal.is_met == (share <= 1)


def test_goals_of_all_kinds_are_drawn_and_listed(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    goals = [
        Goal(what="none may fail, none did", limit=0, found=0),
        Goal(what="none may fail, two did", limit=0, found=2, cause="planted"),
        Goal(what="far off", limit=1, found=99),
    ]
    path = tmp_path / "RESULTS.md"
    record(Section(title="One", command="true", lines=["a figure"], goals=goals), path)
    record(Section(title="Two", command="true", lines=["another"]), path)
    text = path.read_text("utf-8")
    assert "| none may fail, none did | 0 | 0 | met |" in text
    assert "| none may fail, two did | 0 | 2 | **not met**: planted |" in text
    picture = path.with_suffix(".svg").read_text("utf-8")
    assert all(goal.what in picture for goal in goals)
