"""How much is tried, and on what."""

from __future__ import annotations

import compileall
import contextlib
import dataclasses
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from support import REPO, REVISION, ROOT, filled_store
from support.registry import PROGRAM, Registry

from fault.operations import Shared, make_shared
from xttsreg.content.reference import Reference
from xttsreg.demo.hub import Hub
from xttsreg.ops.registry import push
from xttsreg.remote.address import Address

T = TypeVar("T")
Sample = Callable[[Sequence[T], int], list[T]]


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A directory in memory, if there is one: what is tested here needs no medium."""
    # An import that writes its bytecode would shift the numbers of the calls from run to run.
    compileall.compile_dir(ROOT / "xttsreg", quiet=2)
    memory = Path("/dev/shm")
    parent = memory if memory.is_dir() and shutil.disk_usage(memory).free > 2**28 else None
    with tempfile.TemporaryDirectory(dir=parent, prefix="xttsreg-fault-") as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def shared(scratch: Path) -> Iterator[Shared]:
    """What operations only read, and the hub that serves it."""
    hubs: list[Hub] = []

    def serve(weights: Path) -> str:
        hubs.append(Hub(weights, repo=REPO, revision=REVISION).__enter__())
        return hubs[0].url

    shared = make_shared(scratch / "shared", serve)
    with contextlib.ExitStack() as stack:
        if PROGRAM:
            registry = stack.enter_context(Registry(scratch / "registry"))
            sender = filled_store(scratch / "sender", shared.weights, ref="more:v1")
            push(sender, Reference.parse("more:v1"), Address.parse(f"{registry.host}/team/more:v1"))
            shared = dataclasses.replace(shared, registry=registry.host)
        yield shared
    for hub in hubs:
        hub.__exit__()


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """Of the samples of this session; printed in the table."""
    return int(request.config.getoption("--fault-seed"))


@pytest.fixture(scope="session")
def sample(request: pytest.FixtureRequest, seed: int) -> Sample[Any]:
    """Choose so many of the points, or all with ``--faults all``; the last one always."""
    everything = request.config.getoption("--faults") == "all"

    def choose(points: Sequence[Any], count: int) -> list[Any]:
        if everything or len(points) <= count:
            return list(points)
        chosen = set(random.Random(seed).sample(range(len(points)), count))
        return [points[i] for i in sorted(chosen | {len(points) - 1})]

    return choose
