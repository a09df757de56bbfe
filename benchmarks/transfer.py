"""add, bundle, import, verify and checkout: xttsreg against what people use instead.

``python -m benchmarks.transfer [--size SIZE] [--rounds N] [--directory DIR] [--record]`` makes a
random weight set with the real classes, and brings it through with all of them on one disk, in
turns. Medians count. For the full size: 16 GB of disk, and 5 GB of memory while the set is made.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import peers
from benchmarks.alone import alone
from benchmarks.race import XTTSREG, Lane, Times, evict, gone, own_mb, quietly, race, table
from benchmarks.results import Goal, Section

_REF = "random:v1"
_MAKE = (
    "import sys; from pathlib import Path; from xttsreg.training.synthetic import make_weight_set;"
    " make_weight_set(Path(sys.argv[1]), size=sys.argv[2])"
)
_MAKE_SMALL = """
import sys, torch
from pathlib import Path
view = Path(sys.argv[1])
view.mkdir(parents=True)
torch.save({"model": {"w": torch.rand(5_000_000)}}, view / "model.pth")
torch.save({"w": torch.rand(500_000)}, view / "dvae.pth")
(view / "vocab.json").write_text("{}")
(view / "LICENSE.txt").write_text("Random numbers.")
"""
# The same durability as ours: every file, and every directory, is on the disk.
_SYNC = '; find "$1" -exec sync {} +'
_ANNEX = ["git", "-c", "annex.largefiles=anything", "annex"]
_SLOW = 1
"""Rounds for what takes many times as long."""
Found = dict[str, dict[str, Times]]


def weight_set(directory: Path, size: str) -> Path:
    """Random weights of the real shapes, or for ``small`` of none; made once."""
    view = directory / size
    if not (view / "LICENSE.txt").is_file():  # written last
        script = _MAKE_SMALL if size == "small" else _MAKE
        subprocess.run([sys.executable, "-c", script, str(gone(view)), size], check=True)
    return view


class Bench:
    """One directory on one disk, in which all of it happens."""

    def __init__(self, directory: Path, size: str) -> None:
        self.weights = weight_set(directory, size)
        self.root = gone(directory / f"transfer-{size}")
        self.store, self.stick = self.root / "home" / "store", self.root / "stick"
        self.place = self.root / "peer"
        self.root.mkdir(parents=True)
        quietly(self.ours("add", _REF, self.weights))
        quietly(self.ours("bundle", _REF, "-o", self.stick))
        self.written = _times(self.stick)

    def ours(self, *arguments: object, store: Path | None = None) -> list[str]:
        """A command line of xttsreg."""
        return [*XTTSREG, *map(str, arguments), "--store", str(store or self.store)]

    def lane(self, name: str, *arguments: object, store: Path | None = None) -> Lane:
        """A command of xttsreg, to a place where nothing is."""
        return Lane(
            name=f"xttsreg {name}", command=self.ours(*arguments, store=store),
            before=lambda: gone(self.place), after=lambda: gone(self.place),
        )  # fmt: skip

    def shell(
        self, name: str, script: str, source: Path, note: str = "", rounds: int = 100
    ) -> Lane:
        """A shell command from ``$0`` to ``$1``, which is not there before."""
        return Lane(
            name=name, command=["sh", "-ec", script, source, self.place], note=note, rounds=rounds,
            before=lambda: gone(self.place), after=lambda: gone(self.place),
        )  # fmt: skip

    def ways_to_add(self) -> Iterator[Lane]:
        """Files into a store, checked."""
        yield self.shell("cp", f'cp -r "$0" "$1"{_SYNC}', self.weights, "checks nothing")
        sums = (f'cp -r "$0" "$1"{_SYNC}; cd "$1"; sha256sum * > ../sums;'
                ' sha256sum --quiet -c ../sums')  # fmt: skip
        yield self.shell("cp, sha256sum, sha256sum -c", sums, self.weights, rounds=_SLOW)
        if shutil.which("git-annex"):
            copy = ('cp -r "$0" "$1"; cd "$1"; git init -q; git annex init -q; git annex add -q .'
                    f'{_SYNC}')  # fmt: skip
            yield self.shell("cp, git annex add", copy, self.weights, rounds=_SLOW)
        if shutil.which("dvc"):
            copy = ('cp -r "$0" "$1"; cd "$1"; dvc init -q --no-scm;'
                    f' dvc config cache.type hardlink; dvc add -q *.*{_SYNC}')  # fmt: skip
            yield self.shell("cp, dvc add", copy, self.weights, "MD5", rounds=_SLOW)
        yield self.lane("add", "add", _REF, self.weights, store=self.place / "store")

    def ways_to_bundle(self) -> Iterator[Lane]:
        """A store onto a disk."""
        yield self.shell("cp", f'cp -r "$0" "$1"{_SYNC}', self.weights, "checks nothing")
        yield self.shell("tar", f'tar -cf "$1" -C "$0" .{_SYNC}', self.weights, "same", _SLOW)
        if shutil.which("rsync"):
            yield self.shell("rsync", f'rsync -a "$0/" "$1"{_SYNC}', self.weights, "same", _SLOW)
        if shutil.which("skopeo"):
            copy = f'skopeo copy -q "oci:$0:{_REF}" "oci:$1:{_REF}"{_SYNC}'
            yield self.shell("skopeo copy", copy, self.store, rounds=_SLOW)
        if shutil.which("restic"):
            script = (
                'export RESTIC_PASSWORD=x RESTIC_CACHE_DIR="$1.cache"; restic -q -r "$1" init;'
                f' restic -q -r "$1" backup --compression off "$0"{_SYNC}; rm -rf "$1.cache"'
            )
            note = "encrypts, finds doubles"
            yield self.shell("restic backup", script, self.weights, note, _SLOW)
        if shutil.which("git-annex"):
            yield self.shell("git annex copy", f'cd "$0"; mkdir "$1"; git annex copy -q --to=stick'
                             f'{_SYNC}', self._annex(), rounds=_SLOW)  # fmt: skip
        if shutil.which("dvc"):
            yield self.shell("dvc push", f'cd "$0"; mkdir "$1"; dvc push -q{_SYNC}', self._dvc(),
                             "MD5", _SLOW)  # fmt: skip
        yield self.lane("bundle", "bundle", _REF, "-o", self.place)
        yield Lane(name="xttsreg bundle, unchanged", note="reads all of it",
                   command=self.ours("bundle", _REF, "-o", self.stick),
                   after=self._nothing_written)  # fmt: skip

    def ways_to_import(self) -> Iterator[Lane]:
        """A stick into a store. Links are prevented as a stick does: the files are another's."""
        yield self.shell("cp", f'cp -r "$0" "$1"{_SYNC}', self.stick, "checks nothing")
        check = f'cp -r "$0" "$1"{_SYNC}; cd "$1"; sha256sum --quiet -c SHA256SUMS'
        yield self.shell("cp, sha256sum -c", check, self.stick, rounds=_SLOW)
        if shutil.which("skopeo"):
            copy = f'skopeo copy -q "oci:$0:{_REF}" "oci:$1:{_REF}"{_SYNC}'
            yield self.shell("skopeo copy", copy, self.stick, rounds=_SLOW)
        store = self.place / "store"
        if os.geteuid() == 0:
            yield Lane(name="xttsreg import", command=self.ours("import", self.stick, store=store),
                       before=self._not_mine, after=lambda: self._own(0))  # fmt: skip
        yield self.lane("import, linked", "import", self.stick, store=store)

    def ways_to_verify(self, *, cold: bool) -> Iterator[Lane]:
        """Reading all of it only to check it."""

        def ready() -> None:
            if cold:
                evict(self.stick)
                evict(self.store)
                evict(self.weights)

        yield Lane(name="sha256sum -c", cwd=self.stick, before=ready, rounds=_SLOW,
                   command=["sha256sum", "--quiet", "-c", "SHA256SUMS"])  # fmt: skip
        if shutil.which("openssl"):
            largest = max(self.weights.iterdir(), key=lambda path: path.stat().st_size)
            yield Lane(name="openssl dgst of the largest file", before=ready,
                       note="the limit: one core for one file",
                       command=["openssl", "dgst", "-sha256", largest])  # fmt: skip
        yield Lane(name="xttsreg verify --no-cache", command=self.ours("verify", "--no-cache"),
                   before=ready)  # fmt: skip
        yield Lane(name="xttsreg verify", command=self.ours("verify"), before=ready,
                   note="by its records")  # fmt: skip

    def ways_to_check_out(self) -> Iterator[Lane]:
        """A folder with the files' names."""
        yield self.shell("cp", f'cp -r "$0" "$1"{_SYNC}', self.weights, "checks nothing")
        yield self.lane("checkout", "checkout", _REF, self.place)

    def _annex(self) -> Path:
        """A repository that has the set, with a directory as its remote."""
        repository = self.root / "annex"
        script = ('cp -rl "$0" "$1"; cd "$1"; git init -q; git annex init -q; git annex add -q .;'
                  ' mkdir "$2"; git annex initremote -q stick type=directory encryption=none'
                  ' directory="$2" autoenable=false')  # fmt: skip
        quietly(["sh", "-ec", script, self._copy("annexed"), repository, self.place])
        return repository

    def _dvc(self) -> Path:
        """The same with dvc."""
        repository = self.root / "dvc-repository"
        script = ('cp -rl "$0" "$1"; cd "$1"; dvc init -q --no-scm; dvc config cache.type hardlink;'
                  ' dvc add -q *.*; dvc remote add -q -d stick "$2"')  # fmt: skip
        quietly(["sh", "-ec", script, self._copy("dvced"), repository, self.place])
        return repository

    def _copy(self, name: str) -> Path:
        """The set once more: what tracks files takes them over."""
        return Path(shutil.copytree(self.weights, self.root / name))

    def _nothing_written(self) -> None:
        if _times(self.stick) != self.written:
            raise RuntimeError("an unchanged bundle was written to")

    def _not_mine(self) -> None:
        gone(self.place)
        self._own(65534)

    def _own(self, uid: int) -> None:
        for path in self.stick.rglob("*"):
            os.chown(path, uid, -1)


def _times(directory: Path) -> dict[Path, int]:
    """When each file and directory was last written."""
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*")}


def measure(bench: Bench, rounds: int) -> Found:
    """All jobs."""
    jobs = {
        "add": bench.ways_to_add(),
        "bundle": bench.ways_to_bundle(),
        "import": bench.ways_to_import(),
        "verify, warm": bench.ways_to_verify(cold=False),
        "verify, cold": bench.ways_to_verify(cold=True),
        "checkout": bench.ways_to_check_out(),
    }
    found: Found = {}
    for job, lanes in jobs.items():
        found[job] = race(lanes, rounds)
        for name in ("annex", "annexed", "dvc-repository", "dvced"):
            gone(bench.root / name)
    return found


def hash_speed() -> float:
    """Bytes a second of ``openssl speed sha256`` on one core; 0 without openssl."""
    if not shutil.which("openssl"):
        return 0.0
    command = [
        "openssl",
        "speed",
        "-elapsed",
        "-seconds",
        "1",
        "-bytes",
        "262144",
        "-evp",
        "sha256",
    ]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    match = re.search(r"([\d.]+)k\s*$", told.strip())
    return float(match[1]) * 1000 if match else 0.0


def goals(found: Found, total_bytes: int, speed: float) -> Iterator[Goal]:
    """What these figures were meant to be."""

    def ratio(job: str, ours: str, peer: str) -> float:
        return found[job][f"xttsreg {ours}"].median / found[job][peer].median

    one_file = (
        "SHA-256 of one file cannot be divided, and model.pth is nine tenths of the set: one core "
        "works, the other one has a tenth"
    )
    warm = "verify, warm"
    yield Goal(what="verify --no-cache, warm, to sha256sum -c", limit=0.2, cause=one_file,
               found=ratio(warm, "verify --no-cache", "sha256sum -c"))  # fmt: skip
    if speed:
        rate = total_bytes / found[warm]["xttsreg verify --no-cache"].median
        yield Goal(what="both cores' openssl speed sha256, to verify's rate", limit=1 / 0.9,
                   found=speed * (os.cpu_count() or 1) / rate, cause=one_file)  # fmt: skip
        yield Goal(what="verify, warm, to openssl dgst of model.pth alone", limit=1 / 0.9,
                   found=ratio(warm, "verify --no-cache", "openssl dgst of the largest file"),
                   cause="the start of Python, and the second file on the other core")  # fmt: skip
    yield Goal(what="bundle to cp, both synced", limit=1.25, found=ratio("bundle", "bundle", "cp"),
               cause=_beside_the_copy(found, "bundle"))  # fmt: skip
    unchanged = found["bundle"]["xttsreg bundle, unchanged"].median
    yield Goal(what="bundle, unchanged, to sha256sum -c", limit=1,
               found=unchanged / found[warm]["sha256sum -c"].median)  # fmt: skip
    yield _memory("bundle", found["bundle"]["xttsreg bundle"])
    if "xttsreg import" in found["import"]:
        hashing = _beside_the_copy(found, "import")
        yield Goal(what="import to cp, both synced", limit=1.25, cause=hashing,
                   found=ratio("import", "import", "cp"))  # fmt: skip
        yield Goal(what="import to cp, then sha256sum -c", limit=0.35, cause=hashing,
                   found=ratio("import", "import", "cp, sha256sum -c"))  # fmt: skip
        yield _memory("import", found["import"]["xttsreg import"])


def _beside_the_copy(found: Found, job: str) -> str:
    """Why a copy that hashes takes longer than one that does not."""
    cp = found[job]["cp"]
    openssl = found["verify, warm"].get("openssl dgst of the largest file")
    hashing = f"{openssl.median / cp.median:.2f} of cp's time, by openssl" if openssl else "as long"
    return (
        f"from memory onto a disk that took {cp.median:.1f} s, the processor is the limit: "
        f"the hash of the largest file takes {hashing}, beside the copy, "
        f"on {os.cpu_count()} cores; half a second is Python's start and the reading of pickles. "
        "A slower disk hides it, see below"
    )


def _memory(verb: str, times: Times) -> Goal:
    return Goal(what=f"peak memory of {verb}", limit=200, unit="MB", found=times.peak_bytes / 1e6)


def run(directory: Path, size: str, rounds: int) -> Section:
    """Measure everything."""
    bench = Bench(directory, size)
    sizes = [path.stat().st_size for path in bench.weights.iterdir()]
    load = os.getloadavg()[0]
    speed = hash_speed()
    found = measure(bench, rounds)
    gone(bench.root)
    lines = [f"{sum(sizes) / 1e9:.2f} GB in {len(sizes)} files, one disk",
             f"median of {rounds} rounds in turns, of {min(_SLOW, rounds)} for slow peers",
             f"everything is written to the disk (fsync) in all ways; load of others {load:.1f}",
             f"openssl speed sha256: {speed / 1e9:.2f} GB/s a core",
             f"peak MB: at least that of this process ({own_mb():.0f})"]  # fmt: skip
    for job, times in found.items():
        base = "sha256sum -c" if job.startswith("verify") else "cp"
        lines += ["", *table(job, times, base)]
    return Section(
        title=f"Bundles and stores, {size} set",
        command=f"python -m benchmarks.transfer --size {size} --rounds {rounds} --record",
        lines=[*lines, "", *peers.versions()],
        goals=list(goals(found, sum(sizes), speed)),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transfer")
    parser.add_argument("--size", choices=("small", "tiny", "full"), default="full")
    parser.add_argument("--rounds", type=int, default=3)

    def measure(given: argparse.Namespace, directory: Path) -> Section:
        peers.find(directory, install=given.record)
        return run(directory, given.size, given.rounds)

    alone(parser, measure, arguments)


if __name__ == "__main__":
    main()
