"""What several tests need: small weight sets, catalogues that pin them, and the command line."""

from __future__ import annotations

import hashlib
import io
import os
import random
import signal
import stat
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from xttsreg.catalog import Catalog, WeightSet
from xttsreg.cli import main
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.reference import Reference
from xttsreg.ops.add import add
from xttsreg.stores.layout import LayoutStore
from xttsreg.stores.names import STATE_DIRECTORY

ROOT = Path(__file__).resolve().parents[2]
REVISION = "0123456789abcdef0123456789abcdef01234567"
REPO = "team/small"
SIZES = {
    "model.pth": 200_000,
    "dvae.pth": 50_000,
    "mel_stats.pth": 1_067,
    "vocab.json": 3_000,
    "config.json": 2_000,
    "speakers_xtts.pth": 9_000,
    "hash.md5": 32,
    "LICENSE.txt": 400,
}
ROLES = {
    "model.pth": ["train", "infer"],
    "vocab.json": ["train", "infer"],
    "dvae.pth": ["train"],
    "mel_stats.pth": ["train"],
    "LICENSE.txt": ["licence"],
}


def make_small_set(directory: Path, *, seed: int = 1, **sizes: int) -> Path:
    """Random files with the names of a weight set; ``model_pth=N`` gives another size."""
    directory.mkdir(parents=True, exist_ok=True)
    wanted = {**SIZES, **{name.replace("_pth", ".pth"): size for name, size in sizes.items()}}
    for name, size in wanted.items():
        chance = random.Random(f"{seed} {name}")
        make = checkpoint if name.endswith(".pth") and size >= 300 else random.Random.randbytes
        (directory / name).write_bytes(make(chance, size))
    return directory


def checkpoint(chance: random.Random, size: int, pickled: bytes = b"\x80\x02}.") -> bytes:
    """A torch file of exactly this size: an empty dict, and random bytes beside it."""

    def written(padding: bytes) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, data in (("a/data.pkl", pickled), ("a/data/0", padding)):
                archive.writestr(zipfile.ZipInfo(name), data)
        return file.getvalue()

    return written(chance.randbytes(size - len(written(b""))))


def catalog_for(
    directory: Path,
    weights: Path,
    *bases: str,
    name: str = "small",
    required: bool = False,
    more: str = "",
) -> Path:
    """A catalogue directory that pins every file of ``weights``; ``bases`` are hubs' URLs."""
    sources = [f"{base}/{REPO}/resolve/{{revision}}/{{path}}" for base in bases]
    lines = [
        f'name = "{name}"',
        f'revision = "{REVISION}"',
        'languages = ["en", "zh-cn"]',
        f"sources = {sources or ['http://127.0.0.1:9/{path}']}",
        more,
        "[license]",
        'id = "LicenseRef-Small-1.0"',
        'name = "Small Licence"',
        'path = "LICENSE.txt"',
        f"acceptance_required = {str(required).lower()}",
        'summary = ["Be kind.", "Be brief."]',
    ]
    for path in sorted(weights.iterdir()):
        data = path.read_bytes()
        lines += [
            "[[files]]",
            f'path = "{path.name}"',
            f"size_bytes = {len(data)}",
            f'sha256 = "{hashlib.sha256(data).hexdigest()}"',
            f"roles = {ROLES.get(path.name, ['infer'])}",
        ]
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.toml").write_text("\n".join(lines), "utf-8")
    return directory


def pinned(directory: Path, name: str = "small") -> WeightSet:
    """The set of a catalogue directory."""
    return Catalog.load(directory).get(Reference.parse(name))


def never_ask(terms: object) -> str | None:
    """Somebody who must not be asked."""
    raise AssertionError(f"asked for {terms}")


def say_yes(terms: object) -> str | None:
    """Somebody who accepts."""
    return "test"


def say_no(terms: object) -> str | None:
    """Somebody who does not."""
    return None


def blob_of(data: bytes, media_type: str = "application/octet-stream") -> Descriptor:
    """The descriptor of these bytes."""
    return Descriptor(media_type=media_type, digest=Digest.of(data), size_bytes=len(data))


def filled_store(root: Path, weights: Path, *, ref: str = "own:v1") -> LayoutStore:
    """A store with one set of one's own in it."""
    store = LayoutStore.create(root)
    add(store, Reference.parse(ref), weights, Catalog([]), ask=never_ask)
    return store


def blob_file(store: LayoutStore, path: str, ref: str = "own:v1") -> Path:
    """Where a store has the blob of a set's file."""
    from xttsreg.stores.base import read_manifest

    manifest = read_manifest(store, store.tags()[ref])
    return store.blob_path(manifest.files()[path].digest)


def damage(path: Path, offset: int = 0, bit: int = 0) -> None:
    """Flip one bit in place, whatever the mode."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.write_bytes(data)
    path.chmod(mode)


def small_wheel(name: str, metadata: str = "") -> bytes:
    """A wheel with nothing in it but who it is."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(f"{name}-1.dist-info/METADATA", f"Name: {name}\nVersion: 1\n{metadata}\n")
    return data.getvalue()


def sha256_of(path: Path) -> str:
    """Digest of a file of any length."""
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            hasher.update(chunk)
    return hasher.hexdigest()


def tree(root: Path, *, state: bool = False) -> dict[str, str]:
    """Every file below a directory with its digest; without our state directory, unless asked."""
    found = {}
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if relative.parts[0] == STATE_DIRECTORY and not state:
            continue
        if path.is_symlink():
            found[str(relative)] = f"-> {path.readlink()}"
        elif path.is_file():
            found[str(relative)] = sha256_of(path)
        elif not path.is_dir():
            found[str(relative)] = f"mode {stat.S_IFMT(path.lstat().st_mode):o}"
    return found


def largest(directory: Path, pattern: str = "*") -> int:
    """Size of the largest file, in bytes, while another process makes and moves files there."""
    sizes = [0]
    for path in directory.glob(pattern):
        with suppress(FileNotFoundError):  # finished, and moved to its place
            sizes.append(path.stat().st_size)
    return max(sizes)


def leftovers(store: LayoutStore) -> list[str]:
    """Temporary files of a store that nobody uses."""
    names = ("tmp", "leases", "partial")
    found = [p for name in names for p in (store.state / name).rglob("*") if p.is_file()]
    return [str(p) for p in (*found, *store.state.glob("*.tmp")) if p.suffix != ".lock"]


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The line that says what happened."""
        return self._line("error:")

    @property
    def hint(self) -> str:
        """The line that says what to do next."""
        return self._line("next:")

    def _line(self, prefix: str) -> str:
        lines = [line for line in self.stderr.splitlines() if line.startswith(prefix)]
        assert len(lines) == 1, f"{len(lines)} lines begin with {prefix!r}:\n{self.stderr}"
        return lines[0].removeprefix(prefix).strip()


# The hub's client heeds TRANSFORMERS_OFFLINE as well, which tests of training set in this process.
_SWITCHES = ("XTTSREG_", "COQUI_", "HF_", "TRANSFORMERS_", "PYTHON")


def clean_environment(home: Path, **env: str) -> dict[str, str]:
    """This process's environment without what would change xttsreg's behaviour."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.upper().startswith(_SWITCHES)
        and not key.upper().endswith("_PROXY")
        and key not in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    }
    return {**kept, "XTTSREG_HOME": str(home), "PYTHONPATH": str(ROOT), **env}


def command(*args: object) -> list[str]:
    """The command line of ``xttsreg ARGS``."""
    return [sys.executable, "-m", "xttsreg", *map(str, args)]


def run_cli(
    args: Sequence[object],
    home: Path,
    *,
    cwd: Path | None = None,
    timeout_s: float = 60,
    fresh: bool = False,
    **env: str,
) -> Ran:
    """Run ``xttsreg ARGS`` in a process of its own, without a terminal.

    The process is a fork of this one, which spares it the imports; ``fresh`` starts a new Python.
    """
    place, environment = cwd or home.parent, clean_environment(home, **env)
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        if fresh or not hasattr(os, "fork"):
            code = subprocess.run(
                command(*args),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=place,
                timeout=timeout_s,
                check=False,
            ).returncode
        else:
            code = _fork(list(map(str, args)), environment, place, (out, err), timeout_s)
        out.seek(0)
        err.seek(0)
        return Ran(code, out.read(), err.read())


def _fork(
    args: list[str],
    environment: dict[str, str],
    cwd: Path,
    streams: tuple[IO[str], IO[str]],
    timeout_s: float,
) -> int:
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for number, stream in enumerate(streams, 1):
                os.dup2(stream.fileno(), number)
            sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
            os.environ.clear()
            os.environ.update(environment)
            os.chdir(cwd)
            code = main(args)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
    deadline = time.monotonic() + timeout_s
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise AssertionError(f"xttsreg {' '.join(args)}: still running after {timeout_s} s")
        time.sleep(0.003)


def start_cli(
    args: Sequence[object], home: Path, *, changed: str = "", **env: str
) -> subprocess.Popen[str]:
    """Start ``xttsreg ARGS`` and go on; with ``changed``, code that is run before."""
    program = f"import sys; {changed}; from xttsreg.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, args)] if changed else command(*args),
        env=clean_environment(home, **env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores Ctrl-C; what we start must not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@contextmanager
def mounted(where: Path, *arguments: str) -> Iterator[Path]:
    """A mount for the time of a test; skips where that is not permitted."""
    where.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *arguments, str(where)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


@contextmanager
def read_only(where: Path) -> Iterator[Path]:
    """A directory as if on a read-only medium; root, too, cannot write to it."""
    with mounted(where, "--bind", str(where)):
        done = subprocess.run(["mount", "-o", "remount,ro,bind", str(where)], capture_output=True)
        if done.returncode:
            pytest.skip("a read-only mount is not permitted here")
        yield where
