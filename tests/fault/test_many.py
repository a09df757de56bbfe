"""Many processes at once on one store: nothing is lost, nothing waits for ever."""

from __future__ import annotations

import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from filelock import FileLock
from support import filled_store, make_small_set, run_cli

from fault import processes
from fault.operations import Shared
from fault.tally import TALLY
from fault.world import World, litter, problems
from xttsreg.cli import main
from xttsreg.errors import StoreLocked
from xttsreg.ops.bundle import bundle

PROCESSES = 16
KEPT = "keep:v1"
# What each may answer. 2: a name that means something else. 3: one that another has just removed.
# 5: gc, while others write.
ACTIONS: dict[str, tuple[Sequence[str], Sequence[int]]] = {
    "fetch": (["fetch", "small", "--catalog", "{catalog}", "--accept-license"], [0]),
    "add": (["add", "own:v1", "{other}"], [0]),
    "import": (["import", "{root}/stick"], [0]),
    "tag": (["tag", KEPT, "t:{n}"], [0, 2]),
    "tag, perhaps": (["tag", "more:v1", "t:{n}"], [0, 2, 3]),
    "rm": (["rm", "more:v1"], [0, 3]),
    "rm, one of many": (["rm", "t:{n}"], [0, 3]),
    "rm, catalogued": (["rm", "small:main"], [0, 3]),
    "gc": (["gc", "--yes"], [0, 5]),
    "checkout": (["checkout", KEPT, "{mine}/{k}"], [0]),
    "checkout, perhaps": (["checkout", "more:v1", "{mine}/{k}", "--hardlink"], [0, 3]),
    "bundle": (["bundle", KEPT, "-o", "{mine}/{k}"], [0]),
    "verify": (["verify", KEPT, "--no-cache"], [0]),
    "inventory": (["inventory", "-o", "{mine}/{k}"], [0]),
    "ls": (["ls"], [0]),
}


def _work(world: World, shared: Shared, number: int, until: float, seed: str) -> int:
    """One of the processes: does this and that, and writes down what was wrong."""
    chance = random.Random(seed)
    mine = world.root / f"out{os.getpid()}"
    mine.mkdir()
    log = (world.root / f"log{os.getpid()}").open("w", buffering=1)
    for k in range(10**6):
        if time.monotonic() > until:
            break
        name = chance.choice(list(ACTIONS))
        arguments, allowed = ACTIONS[name]
        places = {"catalog": shared.catalog, "other": shared.other, "root": world.root,
                  "mine": mine, "n": chance.randrange(5), "k": k}  # fmt: skip
        start = time.monotonic()
        code = main([argument.format(**places) for argument in arguments])
        sys.stderr.flush()
        took_s = time.monotonic() - start
        log.write(f"{name}\t{code}\t{took_s:.1f}\t{'' if code in allowed else 'WRONG'}\n")
        shutil.rmtree(mine / str(k), ignore_errors=True)
    shutil.rmtree(mine)
    return 0


def test_sixteen_processes_of_which_some_are_killed(
    shared: Shared, scratch: Path, seed: int, request: pytest.FixtureRequest
) -> None:
    world = World(scratch / "many")
    world.home.mkdir(parents=True)
    store = filled_store(world.store, make_small_set(scratch / "kept", seed=7), ref=KEPT)
    kept = store.tags()[KEPT].digest
    sender = filled_store(world.root / "sender", shared.weights, ref="more:v1")
    bundle(sender, sender.tags(), world.root / "stick")
    until = time.monotonic() + float(request.config.getoption("--many-seconds"))
    chance, running, killed = random.Random(seed), {}, 0

    def start(number: int) -> None:
        errors = world.root / f"stderr{number}.{killed}"
        act = lambda: _work(world, shared, number, until, f"{seed} {number} {killed}")  # noqa: E731
        running[number] = processes.start(act, world.home, errors, threads=True)

    for number in range(PROCESSES):
        start(number)
    while time.monotonic() < until - 1:
        time.sleep(chance.uniform(0.2, 0.6))
        victim = chance.choice(list(running))
        os.kill(running[victim], 9)
        os.waitpid(running[victim], 0)
        killed += 1
        start(victim)
    codes = [processes.wait(child, 120) for child in running.values()]
    assert codes == [0] * PROCESSES, _said(world)
    lines = [line.split("\t") for log in world.root.glob("log*") for line in _lines(log)]
    wrong = [line for line in lines if line[-1] == "WRONG"]
    assert not wrong, f"{wrong}\n{_said(world)}"
    done = Counter(line[0] for line in lines)
    assert run_cli(["gc", "--yes"], world.home).code == 0
    lost = [*problems(store), *litter(store)]
    lost += [] if store.tags().get(KEPT) and store.tags()[KEPT].digest == kept else ["keep:v1"]
    TALLY.add("at once, in 16 processes", f"{killed} killed", tried=len(lines), lost=len(lost))
    assert not lost
    assert len(done) > len(ACTIONS) // 2, done


def _lines(log: Path) -> list[str]:
    """Whole ones: a process may have been killed while it wrote."""
    return [line for line in log.read_text().split("\n") if line.count("\t") == 3]


def _said(world: World) -> str:
    return "\n".join(path.read_text()[-500:] for path in world.root.glob("stderr*"))


def test_locks_of_the_dead_do_not_matter(scratch: Path) -> None:
    """Files of locks that a killed process has left: nobody holds them."""
    world = World(scratch / "stale")
    world.home.mkdir(parents=True)
    store = filled_store(world.store, make_small_set(scratch / "stale-weights"))

    def hold() -> None:
        names = ["lock", "leases/1-dead.lock", f"partial/{'0' * 64}.lock"]
        held = [FileLock(store.state / name, thread_local=False) for name in names]
        for lock in held:
            Path(lock.lock_file).parent.mkdir(exist_ok=True)
            lock.acquire()
        (store.state / "tmp" / "1-dead").mkdir(parents=True)
        (store.state / "tmp" / "1-dead" / "half").write_bytes(b"x")
        (world.root / "held").touch()
        time.sleep(600)

    child = processes.start(hold, world.home, scratch / "stale-errors")
    try:
        while not (world.root / "held").exists():
            time.sleep(0.01)
        with pytest.raises(StoreLocked), store.locked(timeout_s=1):  # it lives
            pass
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    start = time.monotonic()
    for arguments in (["tag", "own:v1", "own:v2"], ["gc", "--yes"], ["verify"]):
        assert run_cli(arguments, world.home, timeout_s=50).code == 0
    assert time.monotonic() - start < 40
    assert litter(store) == []
