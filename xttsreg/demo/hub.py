"""A small hub: a real HTTP server that answers like the Hugging Face hub, for demo and tests.

``GET`` and ``HEAD /{org}/{repo}/resolve/{revision}/{path}``: a small file is answered directly,
its ETag the git blob SHA-1; a large one (LFS) with a redirect to ``/lfs/{sha256}``, on another
host if asked for, with ``X-Linked-ETag`` (its sha256) and ``X-Linked-Size``. Ranges as RFC 9110,
14 has them. Source of the surface: huggingface_hub's client and the hub's answers to it.

`Fault` says how an answer is to go wrong, so that a fetch can be tried against what networks do.
Standard library only. Serves whoever can connect: bind it to loopback.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xttsreg.content.hub import LARGE_BYTES, is_large
from xttsreg.demo.faults import Fault, Request, Stage
from xttsreg.demo.hub_wire import Server, pieces

__all__ = ["Fault", "Hub", "Request", "Stage"]


@dataclass(slots=True)
class _Planned:
    fault: Fault
    file: str | None
    stage: Stage | None
    left: int


class Hub:
    """The server; a context manager.

    Args:
        directory: Its files are the repository's, subdirectories included.
        repo: ``org/name``.
        revision: The commit, 40 hex digits; ``main`` means the same.
        token: If given, first addresses want it as a bearer token.
        lfs_bytes: Files of this size or more are large files; so are some by their suffix.
        other_host: Serve the large files on a second port: another host to a client.
        host: Where to listen.
    """

    def __init__(
        self,
        directory: Path,
        *,
        repo: str,
        revision: str,
        token: str | None = None,
        lfs_bytes: int = LARGE_BYTES,
        other_host: bool = False,
        host: str = "127.0.0.1",
    ) -> None:
        self.directory, self.repo, self.revision = directory, repo, revision
        self.token, self.lfs_bytes = token, lfs_bytes
        self.requests: list[Request] = []
        self.faults: Callable[[Request], Fault | None] | None = None
        self._planned: list[_Planned] = []
        self._hashes: dict[Path, tuple[tuple[int, int], str, str]] = {}
        self._lock = threading.RLock()
        self.closing = threading.Event()
        self._servers = [Server((host, 0), self) for _ in range(1 + other_host)]
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        """Where it listens: what HF_ENDPOINT would be."""
        return self._servers[0].url

    @property
    def lfs_url(self) -> str:
        """Where the large files are; the same as ``url`` without a second host."""
        return self._servers[-1].url

    def file_url(self, path: str) -> str:
        """The first address of a file."""
        return f"{self.url}/{self.repo}/resolve/{self.revision}/{path}"

    def inject(
        self, fault: Fault, *, file: str | None = None, stage: Stage | None = None, times: int = 1
    ) -> None:
        """Let the next ``times`` GET requests that match go wrong; faults are used up in order."""
        with self._lock:
            self._planned.append(_Planned(fault, file, stage, times))

    def __enter__(self) -> Hub:
        """Start to serve."""
        for server in self._servers:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and close the connections that are open."""
        self.closing.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()
            server.hang_up()
        for thread in self._threads:
            thread.join()

    def record(self, request: Request) -> Fault | None:
        """Keep a request, and say what is to go wrong with its answer."""
        with self._lock:
            self.requests.append(request)
            if self.faults and (fault := self.faults(request)):
                return fault
            for plan in self._planned:
                fits = plan.file in (None, request.file) and plan.stage in (None, request.stage)
                if request.method == "GET" and plan.left > 0 and fits:
                    plan.left -= 1
                    return plan.fault
        return None

    def find(self, path: str) -> Path | None:
        """The file of this name, if the name stays within the directory."""
        parts = path.split("/")
        if any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts):
            return None
        file = self.directory.joinpath(*parts)
        return file if file.is_file() else None

    def find_digest(self, sha256_hex: str) -> str | None:
        """The name of the large file with this digest."""
        for file in sorted(self.directory.rglob("*")):
            if file.is_file() and self.is_large(file) and self.hashes(file)[0] == sha256_hex:
                return file.relative_to(self.directory).as_posix()
        return None

    def is_large(self, file: Path) -> bool:
        """Whether a file is kept as a large one."""
        return is_large(file.name, file.stat().st_size, limit_bytes=self.lfs_bytes)

    def hashes(self, file: Path) -> tuple[str, str]:
        """Sha256 and git blob SHA-1 of a file, in hex; computed once per state of the file."""
        stat = file.stat()
        state = (stat.st_size, stat.st_mtime_ns)
        with self._lock:
            known = self._hashes.get(file)
            if known is None or known[0] != state:
                sha256, blob = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % stat.st_size)
                for data in pieces(file, 0, stat.st_size):
                    sha256.update(data)
                    blob.update(data)
                known = self._hashes[file] = (state, sha256.hexdigest(), blob.hexdigest())
        return known[1], known[2]
