"""fetch: xttsreg against curl, aria2c and huggingface_hub, from nginx on this machine.

``python -m benchmarks.fetching [--size SIZE] [--rounds N] [--directory DIR] [--record]``. The same
files three times: straight from nginx; over a line with 20 ms there and back; and over one that
breaks in the middle. What arrives is on the disk (fsync) in all ways.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import peers
from benchmarks.alone import alone
from benchmarks.line import line
from benchmarks.race import XTTSREG, Lane, Times, gone, race, table
from benchmarks.results import Goal, Section
from benchmarks.serving import free_port, running
from benchmarks.transfer import weight_set
from xttsreg.content.stream import digest_stream
from xttsreg.demo.pins import catalog_entry

_REPO, _REVISION = "bench/random", "5" * 40
_DELAY_S = 0.010
_CAUSE = "the hash, which curl does without, where no second core is free; the start of Python"
_SLOW = 1  # rounds for what takes many times as long
_HERE = "http://127.0.0.1:1"  # in the entry; the port is known later
_NGINX = """
daemon off; worker_processes auto; pid {root}/nginx.pid; error_log {root}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_timeout 30; default_type text/plain;
  client_body_temp_path {root}; proxy_temp_path {root}; fastcgi_temp_path {root};
  uwsgi_temp_path {root}; scgi_temp_path {root};
  server {{
    listen 127.0.0.1:{port};
    location ~ ^/{repo}/resolve/[^/]+/(.+)$ {{
      alias {files}/$1; add_header X-Repo-Commit {revision} always; }}
    location /api/models/{repo}/ {{
      default_type application/json; try_files /nothing /info.json; root {root}; }}
    location = /info.json {{ root {root}; default_type application/json; }}
  }}
}}
"""
_HUB = (
    "import sys; from huggingface_hub import snapshot_download;"
    " snapshot_download(sys.argv[1], cache_dir=sys.argv[2])"
)
_AGAIN = "n=0; until {}; do n=$((n+1)); [ $n -lt 9 ]; done"
"""A command that is run again when it fails, as a person would; below ``sh -e``."""


@contextmanager
def hub(root: Path, files: Path) -> Iterator[int]:
    """Nginx with these files as a repository of the hub; its port."""
    root.mkdir(parents=True, exist_ok=True)
    names = sorted(path.name for path in files.iterdir())
    info = {"id": _REPO, "sha": _REVISION, "siblings": [{"rfilename": name} for name in names]}
    (root / "info.json").write_text(json.dumps(info))
    port, conf = free_port(), root / "nginx.conf"
    conf.write_text(
        _NGINX.format(root=root, files=files, port=port, repo=_REPO, revision=_REVISION)
    )
    with running(["nginx", "-c", str(conf), "-e", str(root / "error.log")], port, root / "log"):
        yield port


def ways(
    root: Path, files: Path, port: int, ready: Callable[[], object], slow: Collection[str]
) -> Iterator[Lane]:
    """The clients, each to an empty place below ``root``; of the slow ones, those named."""
    place, base = root / "arrived", f"http://127.0.0.1:{port}/{_REPO}/resolve/main"
    sums = root / "sums"
    digests = {name: digest for digest, name in map(str.split, sums.read_text().splitlines())}
    sync, listed = 'find "$0" -exec sync {} +', shlex.join(digests)

    def before() -> None:
        gone(place)
        ready()

    def shell(name: str, script: str, note: str = "", rounds: int = 100, **env: str) -> Lane:
        return Lane(name=name, command=["sh", "-ec", script, place], before=before, rounds=rounds,
                    after=lambda: gone(place), note=note, env=env)  # fmt: skip

    each = _AGAIN.format(f"curl -sSf -C - -o {{}} {base}/{{}}")
    curl = (f'mkdir -p "$0"; cd "$0"; printf "%s\\n" {listed} | xargs -P4 -I{{}} sh -ec '
            f"'{each}' 2>/dev/null; {sync}")  # fmt: skip
    yield shell("curl, 4 at once", curl, "checks nothing")
    if "sha256sum" in slow:
        yield shell("curl, sha256sum -c", f"{curl}; sha256sum --quiet -c {sums}", rounds=_SLOW)
    if "aria2c" in slow and shutil.which("aria2c"):
        wanted = root / "aria2.txt"
        wanted.write_text("".join(
            f"{base}/{name}\n  out={name}\n  checksum=sha-256={digest}\n"
            for name, digest in digests.items()))  # fmt: skip
        script = (f'aria2c -q -j4 -d "$0" -i {wanted} --max-tries=9 --retry-wait=0'
                  f' --file-allocation=none --console-log-level=error; {sync}')  # fmt: skip
        yield shell("aria2c, checked", script, rounds=_SLOW)
    if "hub" in slow:
        command = shlex.join([sys.executable, "-c", _HUB, _REPO])
        yield shell("huggingface_hub", _AGAIN.format(f'{command} "$0"') + f"; {sync}",
                    "checks sizes alone; run again where it gives up", _SLOW,
                    HF_ENDPOINT=f"http://127.0.0.1:{port}", HF_HUB_DISABLE_XET="1",
                    HF_HUB_DISABLE_TELEMETRY="1", HF_HOME=str(place / "home"))  # fmt: skip
    catalog = root / f"catalog-{port}"
    catalog.mkdir()
    entry = (root / "random.toml").read_text("utf-8").replace(_HERE, base)
    (catalog / "random.toml").write_text(entry, "utf-8")
    fetch = [*XTTSREG, "fetch", "random", "--catalog", catalog, "--store", place / "store"]
    yield Lane(name="xttsreg fetch", command=fetch, before=before, after=lambda: gone(place))


def describe(root: Path, files: Path) -> None:
    """What the clients know beforehand: a list of digests, and an entry of a catalogue."""
    lines = []
    for path in sorted(files.iterdir()):
        with path.open("rb", buffering=0) as file:
            lines.append(f"{digest_stream(file)[0].hex}  {path.name}\n")
    (root / "sums").write_text("".join(lines))
    entry = catalog_entry(files, name="random", revision=_REVISION, license_name="none",
                          sources=[_HERE + "/{path}"], acceptance_required=False)  # fmt: skip
    (root / "random.toml").write_text(entry, "utf-8")


def measure(root: Path, files: Path, rounds: int) -> dict[str, dict[str, Times]]:
    """The three lines."""
    total_bytes = sum(path.stat().st_size for path in files.iterdir())
    found = {}
    with ExitStack() as stack:
        port = stack.enter_context(hub(root / "hub", files))
        distant = stack.enter_context(line(port, delay_s=_DELAY_S))
        faulty = stack.enter_context(line(port))
        # By far the most time is that of slow peers, so they run where it says the most.
        here = {
            "straight": (port, lambda: None, ("sha256sum", "aria2c", "hub")),
            "20 ms there and back": (distant[0], lambda: None, ()),
            "broken in the middle": (faulty[0], lambda: faulty[1](total_bytes // 2), ("aria2c",)),
        }
        for name, (where, ready, slow) in here.items():
            found[name] = race(ways(root, files, where, ready, slow), rounds)
    return found


def goals(found: dict[str, dict[str, Times]]) -> Iterator[Goal]:
    """What these figures were meant to be."""
    for name, times in found.items():
        for peer in ("curl, 4 at once", "aria2c, checked"):
            if peer in times:
                ratio = times["xttsreg fetch"].median / times[peer].median
                yield Goal(what=f"fetch ({name}) to {peer}", limit=1.05, found=ratio, cause=_CAUSE)


def run(directory: Path, size: str, rounds: int) -> Section | None:
    """Measure, and return the lines of the result; None if a program is missing."""
    if not shutil.which("nginx") or not shutil.which("curl"):
        print("fetching: left out, it needs nginx and curl")
        return None
    files = weight_set(directory, size)
    root = gone(directory / f"fetching-{size}")
    root.mkdir(parents=True)
    describe(root, files)
    found = measure(root, files, rounds)
    gone(root)
    lines = [f"median of {rounds} rounds in turns (1 for slow peers); the line "
             "is a relay on the same cores"]  # fmt: skip
    for name, times in found.items():
        lines += ["", *table(f"fetch, {name}", times, "curl, 4 at once")]
    return Section(
        title=f"Fetching, {size} set",
        command=f"python -m benchmarks.fetching --size {size} --rounds {rounds} --record",
        lines=lines,
        goals=list(goals(found)),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fetching")
    parser.add_argument("--size", choices=("small", "tiny", "full"), default="full")
    parser.add_argument("--rounds", type=int, default=3)

    def measure(given: argparse.Namespace, directory: Path) -> Section | None:
        peers.find(directory, install=given.record)
        return run(directory, given.size, given.rounds)

    alone(parser, measure, arguments)


if __name__ == "__main__":
    main()
