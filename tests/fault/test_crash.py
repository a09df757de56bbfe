"""Every operation, killed at each system call that changes the disk."""

from __future__ import annotations

from pathlib import Path

from fault.checks import check_after, expectation
from fault.conftest import Sample
from fault.operations import EACH, Operation, Shared
from fault.processes import Ended
from fault.tally import TALLY
from fault.tracing import Point, alike, points_of, require_tracing, run_traced


@EACH
def test_killed_at_every_step(
    operation: Operation, shared: Shared, scratch: Path, sample: Sample[Point]
) -> None:
    require_tracing()
    expected = expectation(operation, shared, scratch / "crash")
    world = expected.world

    def act(inject: str | None = None) -> Ended:
        world.reset(expected.template)
        return run_traced(lambda: operation.act(world, shared), world.home, inject=inject)

    def kill(point: Point) -> bool:
        return act(f"{point.call}:signal=KILL:when={point.number}").killed

    points = sample(points_of(act().log, world.root), 10)
    assert points, "the operation changed nothing"
    lost = []
    for point in points:
        # What this process imports or opens for its checks, its forks need not: the numbers move.
        if not kill(point) and not any(
            kill(alike(point, points_of(act().log, world.root))) for _ in range(3)
        ):
            lost.append(f"{point}: was not reached")
            continue
        lost += [f"{point}: {problem}" for problem in check_after(expected, shared)]
    TALLY.add("killed", operation.name, tried=len(points), lost=len(lost))
    assert not lost, "\n".join(lost)
