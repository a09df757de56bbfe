"""Every operation, with the power cut after each system call that changes the disk."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from fault import power
from fault.checks import Expected, check_after, check_done, expectation
from fault.conftest import Sample
from fault.operations import EACH, Operation, Shared
from fault.tally import TALLY
from fault.tracing import require_tracing, run_traced

SOME_PER_STEP = 2  # states by chance, besides the three that are not


@EACH
def test_power_cut_at_every_step(
    operation: Operation, shared: Shared, scratch: Path, sample: Sample[int], seed: int
) -> None:
    require_tracing()
    expected = expectation(operation, shared, scratch / "power")
    states = _states(expected, shared, random.Random(seed))
    last = len(states) - 1
    lost, tried = [], 0
    for number in sample(range(len(states)), 10):
        step, loss, state = states[number]
        shutil.rmtree(expected.world.root)
        power.build(state, expected.world.root)
        tried += 1
        done = check_done(expected) if step == states[last][0] else []
        found = [*done, *check_after(expected, shared)]
        lost += [f"power cut after {step[:300]!r}, {loss} lost: {problem}" for problem in found]
    TALLY.add("power cut", operation.name, tried=tried, lost=len(lost))
    assert not lost, "\n".join(lost)


def _states(
    expected: Expected, shared: Shared, chance: random.Random
) -> list[tuple[str, str, power.State]]:
    """Every different state that a cut at any step may leave; those after the end come last."""
    world, operation = expected.world, expected.operation
    world.reset(expected.template)
    disk = power.Disk(world.root)
    log = run_traced(
        lambda: operation.act(world, shared), world.home,
        calls=power.RECORDED, options=power.OPTIONS,
    ).log  # fmt: skip
    found: list[tuple[str, str, power.State]] = []
    seen = set()
    lines = log.splitlines()
    for number, line in enumerate(lines):
        end = number == len(lines) - 1
        if not disk.apply(line) and not end:
            continue
        for loss in (*power.LOSSES, *["some"] * (SOME_PER_STEP - 1)):
            state = power.after_cut(disk, loss, chance)
            key = hash(tuple(sorted((k, v) for k, v in state.items() if v is not None)))
            if end or key not in seen:
                found.append((_readable(line) if not end else "the end", loss, state))
            seen.add(key)
    _compare_model(disk, world.root)
    return found


def _compare_model(disk: power.Disk, root: Path) -> None:
    """The model must have ended up where the real directory did, or it is no witness."""
    # After "names lost" for nothing: what is there now, by name and byte.
    chance = random.Random(0)
    for node in _walk(disk.top):
        node.sync()
    state = power.after_cut(disk, "all", chance)
    files = {name: data for name, data in state.items() if data is not None}
    real = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }
    assert files == real


def _walk(node: power.Node) -> list[power.Node]:
    return [node, *(below for child in node.names.values() for below in _walk(child))]


def _readable(line: str) -> str:
    texts = [text.decode("utf-8", "replace") for text in power._decoded(line[:4000])]
    return f"{line.partition('(')[0]} {[text[-120:] for text in texts[:2]]}"
