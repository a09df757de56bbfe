"""push and pull: xttsreg against skopeo, to and from distribution's registry.

``python -m benchmarks.pushing [--size SIZE] [--rounds N] [--directory DIR] [--record]`` sends a
random weight set to a registry on loopback that has nothing of it, and brings it to an empty place,
with both of them in turns. Medians count. Needs docker-registry and skopeo; for the full size 10 GB
of disk, and 5 GB of memory while the set is made.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import peers
from benchmarks.alone import alone
from benchmarks.race import XTTSREG, Lane, Times, gone, quietly, race, table
from benchmarks.results import Goal, Section
from benchmarks.serving import free_port, running
from benchmarks.transfer import weight_set

_REF = "random:v1"
_CAUSE = "xttsreg hashes what comes once more, and syncs it; skopeo does not sync"
_CONFIG = """
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {root}/data}}, delete: {{enabled: true}}}}
http: {{addr: 127.0.0.1:{port}}}
"""


def ways_to_push(store: Path, host: str, forget: Callable[[], object]) -> Iterator[Lane]:
    """From a store into a registry that has nothing."""
    to = f"{host}/bench/random:v1"
    skopeo = ["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{store}:{_REF}"]
    yield Lane(name="skopeo copy", command=[*skopeo, f"docker://{to}"], before=forget)
    ours = [*XTTSREG, "push", _REF, to, "--store", store]
    yield Lane(name="xttsreg push", command=ours, before=forget)
    yield Lane(name="xttsreg push, again", command=ours)


def ways_to_pull(place: Path, host: str) -> Iterator[Lane]:
    """From the registry to where nothing is; all of it on the disk in the end."""
    at = f"{host}/bench/random:v1"
    sync = 'skopeo copy -q --src-tls-verify=false "docker://$1" "oci:$0"; find "$0" -exec sync {} +'

    def empty() -> None:
        gone(place)

    skopeo = ["sh", "-ec", sync, place]
    yield Lane(name="skopeo copy", command=[*skopeo, at], before=empty)
    ours = [*XTTSREG, "pull", at, _REF, "--accept-license", "--store", place]
    yield Lane(name="xttsreg pull", command=ours, before=empty)
    yield Lane(name="xttsreg pull, again", command=ours)


def goals(found: dict[str, dict[str, Times]]) -> Iterator[Goal]:
    """What these figures were meant to be."""
    for verb, times in found.items():
        ratio = times[f"xttsreg {verb}"].median / times["skopeo copy"].median
        yield Goal(what=f"{verb} to skopeo copy", limit=1.05, found=ratio, cause=_CAUSE)


def run(directory: Path, size: str, rounds: int) -> Section | None:
    """Measure, and return the lines of the result; None if a program is missing."""
    if not shutil.which("docker-registry") or not shutil.which("skopeo"):
        print("pushing: left out, it needs docker-registry and skopeo")
        return None
    files, root = weight_set(directory, size), gone(directory / f"pushing-{size}")
    data, store, port = root / "data", root / "store", free_port()
    root.mkdir(parents=True)
    quietly([*XTTSREG, "add", _REF, files, "--store", store])
    config = root / "config.yml"
    config.write_text(_CONFIG.format(root=root, port=port))
    host = f"127.0.0.1:{port}"

    def forget() -> None:
        gone(data)
        gone(store / ".xttsreg" / "pushed")

    with running(["docker-registry", "serve", str(config)], port, root / "log"):
        found = {"push": race(ways_to_push(store, host, forget), rounds)}
        found["pull"] = race(ways_to_pull(root / "arrived", host), rounds)
    gone(root)
    lines = [f"median of {rounds} rounds in turns; the registry is on the same cores and disk"]
    for verb, times in found.items():
        lines += ["", *table(verb, times, "skopeo copy")]
    return Section(
        title=f"Push and pull, {size} set",
        command=f"python -m benchmarks.pushing --size {size} --rounds {rounds} --record",
        lines=lines,
        goals=list(goals(found)),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pushing")
    parser.add_argument("--size", choices=("small", "tiny", "full"), default="full")
    parser.add_argument("--rounds", type=int, default=3)

    def measure(given: argparse.Namespace, directory: Path) -> Section | None:
        peers.find(directory, install=given.record)
        return run(directory, given.size, given.rounds)

    alone(parser, measure, arguments)


if __name__ == "__main__":
    main()
