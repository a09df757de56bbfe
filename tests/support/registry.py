"""A real OCI registry, distribution's, as Debian packages it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROGRAM = shutil.which("docker-registry")
needs_registry = pytest.mark.skipif(not PROGRAM, reason="docker-registry is not installed")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Registry:
    """A registry process on loopback, with its data in a directory.

    Args:
        directory: Where it keeps its data.
        htpasswd: A file of bcrypt hashes; then it wants HTTP Basic.
        certificate: Certificate and key in PEM files; then it speaks TLS.
        more: Further variables of its configuration.
    """

    def __init__(
        self,
        directory: Path,
        *,
        htpasswd: Path | None = None,
        certificate: tuple[Path, Path] | None = None,
        more: dict[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.directory = directory
        self.scheme = "https" if certificate else "http"
        directory.mkdir(parents=True, exist_ok=True)
        self._config = directory / "config.yml"
        auth = f"auth:\n  htpasswd:\n    realm: test\n    path: {htpasswd}\n" if htpasswd else ""
        tls = (
            f"  tls:\n    certificate: {certificate[0]}\n    key: {certificate[1]}\n"
            if certificate
            else ""
        )
        self._config.write_text(
            "version: 0.1\nlog:\n  accesslog:\n    disabled: false\n  level: info\n"
            f"storage:\n  filesystem:\n    rootdirectory: {directory / 'data'}\n"
            f"http:\n  addr: {self.host}\n{tls}{auth}"
        )
        self._more = more or {}
        self.log = directory / "registry.log"
        self.start()

    def start(self) -> None:
        assert PROGRAM
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "serve", str(self._config)],
                stdout=log,
                stderr=log,
                env={"PATH": "/usr/bin:/bin", "OTEL_TRACES_EXPORTER": "none", **self._more},
            )
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def requests(self, method: str, part: str = "") -> list[str]:
        """Lines of its log for a method, with ``part`` in them."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if f'"{method} ' in line and part in line]

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()


@contextmanager
def guarded_registry(directory: Path, password: str) -> Iterator[Registry]:
    """A registry that wants HTTP Basic of ``ada``; skips where no program makes such passwords."""
    if not shutil.which("htpasswd"):
        pytest.skip("htpasswd is not installed")
    directory.mkdir()
    passwords = directory / "htpasswd"
    with passwords.open("wb") as file:
        subprocess.run(["htpasswd", "-Bbn", "ada", password], check=True, stdout=file)
    with Registry(directory, htpasswd=passwords) as running:
        yield running
