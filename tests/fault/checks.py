"""What must hold after every fault, whatever the operation was."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from support import run_cli

from fault import processes
from fault.operations import Operation, Shared
from fault.world import World, listing, litter, problems


@dataclass(frozen=True, slots=True)
class Expected:
    """An operation that nothing happened to.

    Attributes:
        operation: Which.
        world: Where every try of it takes place.
        template: The world before it.
        known: What was wrong with the store before it; empty but where it is to be mended.
        before: Tags before it.
        after: Tags after it.
        files: Every file after it, and after `gc`.
    """

    operation: Operation
    world: World
    template: Path
    known: Sequence[str]
    before: Mapping[str, str]
    after: Mapping[str, str]
    files: Mapping[str, str]


def expectation(operation: Operation, shared: Shared, scratch: Path) -> Expected:
    """Make the template, and do the operation once without any fault."""
    world = World(scratch / "world")
    template = scratch / "template"
    for directory in (world.root, template):
        shutil.rmtree(directory, ignore_errors=True)
    world.root.mkdir(parents=True)
    operation.prepare(world, shared)
    before = world.tags()
    store = world.layout()
    known = problems(store) if store else []
    shutil.copytree(world.root, template, symlinks=True)
    ended = processes.run(lambda: operation.act(world, shared), world.home)
    assert ended.code == 0, ended.stderr
    after = world.tags()
    _collect(world)
    return Expected(operation, world, template, known, before, after, listing(world))


def check_after(expected: Expected, shared: Shared) -> list[str]:
    """What was lost: first as it is, then after the operation has been done again."""
    return [*check_state(expected), *check_again(expected, shared)]


def check_state(expected: Expected) -> list[str]:
    """The layout is valid, and every name that was there means what it did, and verifies."""
    world = expected.world
    store = world.layout()
    if store is None:
        return ["the store is gone"] if expected.before else []
    found = [problem for problem in problems(store) if problem not in expected.known]
    if found:
        return found
    tags = world.tags()
    for tagged, digest in expected.before.items():
        allowed = {digest}
        if tagged in expected.operation.changes:
            allowed.add(expected.after.get(tagged, ""))
        if tags.get(tagged, "") not in allowed:
            found.append(f"{tagged} is {tags.get(tagged)}, was {digest}")
    new = {t: d for t, d in tags.items() if t not in expected.before}
    if not new.items() <= expected.after.items():
        found.append(f"names that nobody gave: {new}")
    return found


def check_again(expected: Expected, shared: Shared) -> list[str]:
    """The operation works now, ends in the same place as if nothing had happened, `gc` cleans."""
    world, operation = expected.world, expected.operation
    ended = processes.run(lambda: operation.act(world, shared), world.home)
    if ended.code not in operation.again:
        return [f"again: exit code {ended.code}\n{ended.stderr}"]
    found = []
    if world.tags() != expected.after:
        found.append(f"again: tags are {world.tags()}, expected {expected.after}")
    said = _collect(world)
    store = world.layout()
    if store is None:
        return [*found, "again: no store"]
    found += [f"again: {problem}" for problem in problems(store)]
    found += [f"gc left {name} ({said})" for name in litter(store)]
    files = listing(world)
    if files != expected.files:
        different = sorted(set(files.items()) ^ set(expected.files.items()))
        found.append(f"again: other files than expected: {different[:6]}")
    return found


def check_done(expected: Expected) -> list[str]:
    """An operation that has said that it is done is done."""
    found = []
    tags = expected.world.tags()
    if tags != expected.after:
        found.append(f"done, but tags are {tags} instead of {expected.after}")
    missing = expected.files.items() - listing(expected.world).items()
    if missing:
        found.append(f"done, but these files are not: {sorted(missing)[:4]}")
    return found


def check_answer(expected: Expected, ended: processes.Ended) -> list[str]:
    """After an error of the disk: done all the same, or an error that says what and what next."""
    if ended.code == 0:
        # An inventory leaves out what cannot be read and says so: the next bundle brings it again.
        return [] if "left out: " in ended.stderr else check_done(expected)
    said = [line.partition(":")[0] for line in ended.stderr.splitlines() if line[:1].isalpha()]
    if ended.code not in (4, 5) or "unexpected" in ended.stderr:
        return [f"exit code {ended.code}: {ended.stderr}"]
    if said.count("error") != 1 or said.count("next") != 1:
        return [f"not one error and one hint: {ended.stderr}"]
    return []


def _collect(world: World) -> str:
    ran = run_cli(["gc", "--yes"], world.home)
    return f"gc: exit code {ran.code} {ran.stderr}" if ran.code else "gc: 0"
