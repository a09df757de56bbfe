"""How fast a store is served: xttsreg against nginx, on one machine, over loopback.

``python -m benchmarks.serving [--rounds N] [--directory DIR] [--record]`` sends a file of the size
of XTTS_v2's model.pth to one client, then a smaller one to 200 clients at once, and a small one to
as many requests a second as there can be, from both servers in turn. The best of the rounds counts.
Needs nginx, curl and ab (apache2-utils); 4 GB of disk, and as much memory for the cache.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import peers
from benchmarks.alone import alone
from benchmarks.results import Goal, Section
from xttsreg.content.modelpack import CONFIG_TYPE, ModelInfo, build_model, file_layer
from xttsreg.content.stream import digest_stream
from xttsreg.stores.layout import LayoutStore


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked for: sizes of three files, clients at once, requests for the small file."""

    large_bytes: int
    middle_bytes: int
    clients: int
    requests: int

    @property
    def files(self) -> dict[str, int]:
        """Name to size, in bytes."""
        return {"model.pth": self.large_bytes, "dvae.pth": self.middle_bytes, "config.json": 4_368}


FULL = Load(1_867_929_118, 20_000_000, 200, 4000)
SMALL = Load(20_000_000, 1_000_000, 20, 200)
_REF = "random:v1"
_NGINX = """
daemon off; worker_processes auto; pid {root}/nginx.pid; error_log {root}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log {root}/access.log; sendfile on; tcp_nopush on; keepalive_timeout 30;
  client_body_temp_path {root}/tmp; proxy_temp_path {root}/tmp; fastcgi_temp_path {root}/tmp;
  uwsgi_temp_path {root}/tmp; scgi_temp_path {root}/tmp;
  server {{ listen 127.0.0.1:{port} backlog=1024; root {files}; }}
}}
"""


def make_store(root: Path, load: Load) -> Path:
    """Random files, and a store that has them; made once."""
    files, home = root / "files", root / "home"
    files.mkdir(parents=True, exist_ok=True)
    for name, size_bytes in load.files.items():
        path = files / name
        if not path.exists() or path.stat().st_size != size_bytes:
            with path.open("wb") as file:
                while (left := size_bytes - file.tell()) > 0:
                    file.write(os.urandom(min(left, 2**24)))
    if not home.exists():
        store = LayoutStore.create(home / "store")
        with store.writing():
            layers = []
            for path in sorted(files.iterdir()):
                with path.open("rb", buffering=0) as raw:
                    layers.append(file_layer(path.name, *digest_stream(raw)))
                store.stage_file(layers[-1], path)()
            config, manifest = build_model(ModelInfo(name="random"), layers)
            store.put_bytes(CONFIG_TYPE, config)
            store.tag(_REF, store.put_bytes(manifest.media_type, manifest.to_bytes()))
    return files


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server, until the end of the block."""
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as it:
        try:
            for _ in range(200):
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield it
        finally:
            it.terminate()
            it.wait(20)


@contextmanager
def both(root: Path, load: Load) -> Iterator[dict[str, str]]:
    """Address of each server, up to the file's name."""
    files, ports = make_store(root, load), {"nginx": free_port(), "xttsreg": free_port()}
    (root / "tmp").mkdir(exist_ok=True)
    conf = root / "nginx.conf"
    conf.write_text(_NGINX.format(root=root, files=files, port=ports["nginx"]))
    nginx = ["nginx", "-c", str(conf), "-e", str(root / "error.log")]
    ours = [sys.executable, "-m", "xttsreg", "serve", "--port", str(ports["xttsreg"]),
            "--store", str(root / "home" / "store")]  # fmt: skip
    with (
        running(nginx, ports["nginx"], root / "nginx.log"),
        running(ours, ports["xttsreg"], root / "serve.log"),
    ):
        yield {
            "nginx": f"http://127.0.0.1:{ports['nginx']}",
            "xttsreg": f"http://127.0.0.1:{ports['xttsreg']}/random/resolve/v1",
        }


def one_client(base: str) -> float:
    """Seconds for the large file."""
    began = time.perf_counter()
    subprocess.run(["curl", "-sSf", "-o", os.devnull, f"{base}/model.pth"], check=True)
    return time.perf_counter() - began


def many_clients(base: str, clients: int) -> tuple[float, int]:
    """Seconds until all clients have the middle file, and how many failed."""
    began = time.perf_counter()
    command = ["curl", "-sSf", "-o", os.devnull, "--max-time", "300", f"{base}/dvae.pth"]
    running = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(clients)]
    failed = sum(client.wait() != 0 for client in running)
    return time.perf_counter() - began, failed


def rate(base: str, requests: int) -> float:
    """Requests a second for the small file, with 50 at once."""
    command = ["ab", "-q", "-k", "-c", "50", "-n", str(requests), f"{base}/config.json"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    failed = re.search(r"Failed requests:\s+(\d+)", told)
    if not failed or failed.group(1) != "0" or "Non-2xx" in told:
        raise SystemExit(f"requests failed:\n{told}")
    return float(re.search(r"Requests per second:\s+([\d.]+)", told).group(1))  # type: ignore[union-attr]


def measure(root: Path, rounds: int, load: Load) -> dict[str, dict[str, float]]:
    """Figures of both servers: GB/s to one client and to many, failures, requests a second."""
    best: dict[str, dict[str, float]] = {}
    with both(root, load) as bases:
        for base in bases.values():
            one_client(base)  # into the cache
        for _ in range(rounds):
            for name, base in bases.items():
                so_far = best.setdefault(name, {"one": 0.0, "many": 0.0, "failed": 0, "rate": 0.0})
                so_far["one"] = max(so_far["one"], load.large_bytes / one_client(base) / 1e9)
                took_s, failed = many_clients(base, load.clients)
                sent_bytes = load.clients * load.middle_bytes
                so_far["many"] = max(so_far["many"], sent_bytes / took_s / 1e9)
                so_far["failed"] += failed
                so_far["rate"] = max(so_far["rate"], rate(base, load.requests))
    return best


def goals(found: dict[str, dict[str, float]], load: Load) -> Iterator[Goal]:
    """What these figures were meant to be."""
    ours, peer = found["xttsreg"], found["nginx"]
    yield Goal(what="nginx to serve, one client, throughput", limit=1 / 0.8,
               found=peer["one"] / ours["one"])  # fmt: skip
    yield Goal(what=f"serve: of {load.clients} clients at once, failed", limit=0,
               found=ours["failed"])  # fmt: skip


def run(directory: Path, rounds: int, load: Load = FULL) -> Section | None:
    """Measure, and return the lines of the result; None if a program is missing."""
    if not shutil.which("nginx") or not shutil.which("ab"):
        print("serving: left out, it needs nginx and ab (apache2-utils)")
        return None
    root = directory / "serving"
    root.mkdir(parents=True, exist_ok=True)
    found = measure(root, rounds, load)
    shutil.rmtree(root)
    lines = [f"best of {rounds} rounds", f"{'':38}{'xttsreg':>10}{'nginx':>10}{'ratio':>8}"]
    for key, label in (
        ("one", f"{load.large_bytes / 1e9:.2f} GB to one client, GB/s"),
        ("many", f"{load.middle_bytes / 1e6:.0f} MB to {load.clients} clients at once, GB/s"),
        ("rate", "4 kB, 50 at once, requests/s"),
    ):
        ours, peer = found["xttsreg"][key], found["nginx"][key]
        lines.append(f"{label:38}{ours:10.2f}{peer:10.2f}{ours / peer:8.2f}")
    lines.append(f"{'failed clients':38}" + "".join(
        f"{found[name]['failed']:10.0f}" for name in ("xttsreg", "nginx")))  # fmt: skip
    return Section(title="Serving", command="python -m benchmarks.serving --record", lines=lines,
                   goals=list(goals(found, load)))  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)

    def measure(given: argparse.Namespace, directory: Path) -> Section | None:
        peers.find(directory, install=given.record)
        return run(directory, given.rounds)

    alone(parser, measure, arguments)


if __name__ == "__main__":
    main()
