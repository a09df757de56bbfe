"""What goes to a registry, killed at each thing that it sends: no tag without all that it needs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from support import filled_store, run_cli
from support.registry import Registry, needs_registry

from fault import processes
from fault.conftest import Sample
from fault.operations import Shared
from fault.tally import TALLY
from fault.tracing import require_tracing, run_traced
from fault.world import problems
from xttsreg.cli import main
from xttsreg.remote.address import Address
from xttsreg.remote.registry import RegistryStore
from xttsreg.stores.layout import LayoutStore

_SENT = ("sendto",)


@needs_registry
@pytest.mark.parametrize("verb", ["push", "copy"])
def test_killed_at_everything_that_is_sent(
    verb: str, shared: Shared, scratch: Path, sample: Sample[int], tmp_path: Path
) -> None:
    require_tracing()
    home = tmp_path / "home"
    store = filled_store(home / "store", shared.other)
    source = {"push": "own:v1", "copy": f"{shared.registry}/team/more:v1"}[verb]
    with Registry(scratch / f"wire-{verb}") as registry:

        def act(repository: str) -> processes.Act:
            # A set that was sent before would be mounted instead of sent.
            shutil.rmtree(store.state / "pushed", ignore_errors=True)
            return lambda: main([verb, source, f"{registry.host}/{repository}:v1"])

        whole = run_traced(act("whole"), home, calls=_SENT)
        assert whole.code == 0, whole.stderr
        expected = _tags(registry, "whole")["whole:v1"]
        count = len(re.findall(r"^\d+ +sendto\(", whole.log, re.MULTILINE))
        assert count > 20
        lost = []
        points: Sequence[int] = sample(range(1, count + 1), 6)
        for number in points:
            name = f"at-{number}"
            kill = f"sendto:signal=KILL:when={number}"
            ended = run_traced(act(name), home, calls=_SENT, inject=kill)
            found = [] if ended.killed else [f"was not reached: {ended.code} {ended.stderr}"]
            if _tags(registry, name):  # it may have got as far as that; then all of it is there
                found += _pulled(registry, name, expected, tmp_path / f"{name}-first")
            again = processes.run(act(name), home)
            found += [] if again.code == 0 else [f"again: {again.code} {again.stderr}"]
            found += _pulled(registry, name, expected, tmp_path / name)
            lost += [f"{verb}, {number} of {count}: {problem}" for problem in found]
    TALLY.add("killed while sending", verb, tried=len(points), lost=len(lost))
    assert not lost, "\n".join(lost)
    assert problems(store) == []


def _tags(registry: Registry, repository: str) -> dict[str, str]:
    there = RegistryStore(Address.parse(f"{registry.host}/{repository}:v1"))
    return {tag: entry.digest for tag, entry in there.tags().items()}


def _pulled(registry: Registry, repository: str, expected: str, home: Path) -> list[str]:
    done = run_cli(["pull", f"{registry.host}/{repository}:v1", "it:v1"], home)
    if done.code:
        return [f"pull: {done.code} {done.stderr}"]
    store = LayoutStore.open_existing(home / "store")
    digest = store.tags()["it:v1"].digest
    return [*([] if digest == expected else [f"is {digest}"]), *problems(store)]
