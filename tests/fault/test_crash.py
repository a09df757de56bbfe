"""Every operation, killed at each system call that changes the disk."""

from __future__ import annotations

from pathlib import Path

from fault.checks import check_after, expectation
from fault.conftest import Sample
from fault.operations import EACH, Operation, Shared
from fault.tally import TALLY
from fault.tracing import Point, points_of, require_tracing, run_traced


@EACH
def test_killed_at_every_step(
    operation: Operation, shared: Shared, scratch: Path, sample: Sample[Point]
) -> None:
    require_tracing()
    expected = expectation(operation, shared, scratch / "crash")
    world = expected.world
    world.reset(expected.template)
    log = run_traced(lambda: operation.act(world, shared), world.home).log
    points = sample(points_of(log, world.root), 10)
    assert points, "the operation changed nothing"
    lost = []
    for point in points:
        world.reset(expected.template)
        ended = run_traced(
            lambda: operation.act(world, shared),
            world.home,
            inject=f"{point.call}:signal=KILL:when={point.number}",
        )
        if not ended.killed:
            lost.append(f"{point}: was not reached (exit code {ended.code})\n{ended.stderr}")
            continue
        lost += [f"{point}: {problem}" for problem in check_after(expected, shared)]
    TALLY.add("killed", operation.name, tried=len(points), lost=len(lost))
    assert not lost, "\n".join(lost)
