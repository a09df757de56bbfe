"""What reads foreign bytes, each as a function of bytes that may raise our own errors only.

A target also holds what it read against a law: what was parsed is written and parsed to the same,
what was refused has left nothing, no pickle names more than was seen. A broken law is a crash.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from xttsreg.catalog import WeightSet
from xttsreg.content.bundle import Bundle, format_sums, parse_sums
from xttsreg.content.checkpoint import ALLOWED_GLOBALS, summarize
from xttsreg.content.environment import EnvironmentConfig, Target
from xttsreg.content.inventory import Inventory
from xttsreg.content.lock import Lock
from xttsreg.content.manifest import Index, Manifest
from xttsreg.content.paths import check_distinct_paths, check_relative_path
from xttsreg.content.pickles import PickleError, Reader
from xttsreg.content.reference import Reference
from xttsreg.content.strict import load_toml
from xttsreg.errors import InvalidCatalog, InvalidRecipe, XttsregError
from xttsreg.ops.recipe import BundleRecipe
from xttsreg.remote.address import Address
from xttsreg.remote.auth import parse_challenge
from xttsreg.remote.source import _CONTENT_RANGE
from xttsreg.remote.transport import parse_retry_after
from xttsreg.remote.urls import origin_of, redact
from xttsreg.serve.paths import BadPath, byte_range, split_path

T = TypeVar("T")


_MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None


def _text(data: bytes) -> str:
    """As headers and arguments come in: any character that one byte can be."""
    return data.decode("latin-1")


def _again(parse: Callable[[bytes], T], value: T, data: bytes) -> None:
    assert parse(data) == value, "written and read again, it is something else"


def manifest(data: bytes) -> None:
    value = Manifest.parse(data)
    _again(Manifest.parse, value, value.to_bytes())
    for path in value.files():
        _stays_inside(path)


def index(data: bytes) -> None:
    value = Index.parse(data)
    written = value.to_bytes()
    assert Index.parse(written).to_bytes() == written
    for tagged, entry in value.tags().items():
        assert value.find(tagged) is not None
        assert entry.digest not in [e.digest for e in value.without_digest(entry.digest).manifests]


def bundle(data: bytes) -> None:
    value = Bundle.parse(data)
    for file in value.files:
        _stays_inside(file.path)
    for number in range(1, min(value.volumes, 20) + 1):
        assert value.volume_of(value.volume_files(number)) is not None


def sums(data: bytes) -> None:
    value = parse_sums(data)
    _again(parse_sums, value, format_sums(value))
    for path in value:
        _stays_inside(path)


def inventory(data: bytes) -> None:
    value = Inventory.parse(data)
    _again(Inventory.parse, value, value.to_bytes())


def environment(data: bytes) -> None:
    value = EnvironmentConfig.parse(data)
    assert Reference.parse(value.tagged).tagged == value.tagged
    Target.of(value.python, value.platform).takes("a-1-py3-none-any.whl")


def lock(data: bytes) -> None:
    value = Lock.parse(data, "lock")
    written = value.to_bytes()
    assert Lock.parse(written, "lock").to_bytes() == written


def reference(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    with contextlib.suppress(XttsregError):
        value = Reference.parse(text)
        assert Reference.parse(str(value)) == value
        assert not set(str(value)) & set(" \n/\\..") - set("/.")
    address = Address.parse(text)
    assert Address.parse(str(address)) == address


def paths(data: bytes) -> None:
    first, _, second = data.decode("utf-8", "surrogateescape").partition("\n")
    _stays_inside(check_relative_path(first))
    check_distinct_paths([first, check_relative_path(second)])
    assert first.casefold() != second.casefold()


def _stays_inside(path: str) -> None:
    parts = path.split("/")
    assert not {"", ".", ".."} & set(parts), "leaves its directory"
    assert not re.search(r"[\\:\x00-\x1f\x7f]", path), "a drive, or a character of control"


def toml(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=_MEMORY, suffix=".toml") as file:
        Path(file.name).write_bytes(data)
        with contextlib.suppress(InvalidRecipe):
            load_toml(BundleRecipe, Path(file.name), InvalidRecipe).references()
        item = load_toml(WeightSet, Path(file.name), InvalidCatalog)
    for each in item.files:
        _stays_inside(each.path)
        assert item.urls(each.path)
    config, made = item.model()
    assert Manifest.parse(made.to_bytes()) == made


def headers(data: bytes) -> None:
    """WWW-Authenticate, Range, Content-Range, Retry-After, Location, and a request's path."""
    text = _text(data)
    challenge = parse_challenge(text)
    assert challenge is None or challenge.scheme in ("bearer", "basic")
    for size in (0, 1, 10**15):
        asked = byte_range(text, size)
        assert asked is None or (asked[0] >= 0 and asked[1] <= size)
    match = _CONTENT_RANGE.fullmatch(text.strip())
    assert not match or all(part in (None, "*") or int(part) >= 0 for part in match.groups())
    wait = parse_retry_after(text)
    assert wait is None or wait >= 0
    shown = redact(text)
    assert "\n" not in shown
    assert len(shown) <= 300
    with contextlib.suppress(BadPath):
        for segment in split_path(text):
            assert segment not in ("", ".", "..")
            assert "/" not in segment
    scheme, host, port = origin_of(text)
    assert scheme in ("http", "https")
    assert host
    assert 0 < port < 2**16


def secret_in_url(data: bytes) -> None:
    """Whatever a URL looks like, its user, password and query are not shown."""
    text = _text(data).replace("SECRET", "")
    for url in (f"https://me:SECRET{text}@host/a", f"https://host/a?{text}&SECRET",
                f"https://host/a#{text}SECRET", f"http://SECRET{text}@host"):  # fmt: skip
        # With one of these, it is a host to every reader of URLs: user names cannot have them.
        if not set("/?#\\") & set(text):
            assert "SECRET" not in redact(url), redact(url)


class _Inert:
    """Stands for everything that a pickle names: may be called and filled, and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> _Inert:
        return self

    def __setstate__(self, _: Any) -> None:
        pass

    append = extend = add = __setitem__ = __call__


class _Asked(pickle._Unpickler):  # type: ignore[name-defined, misc]
    """Python's own reader, which asks for names and gets nothing."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8")
        self.names: set[str] = set()

    def find_class(self, module: str, name: str) -> object:
        self.names.add(f"{module}.{name}")
        return _Inert

    def persistent_load(self, _: object) -> object:
        return _Inert()


def pickles(data: bytes) -> None:
    """What we call harmless, Python's own reader finds harmless as well."""
    reader = Reader()
    with contextlib.suppress(PickleError):
        reader.read(io.BytesIO(data))
        if reader.globals <= ALLOWED_GLOBALS and b"\x96" not in data:  # which asks for memory
            asked = _Asked(data)
            with contextlib.suppress(Exception):
                asked.load()
            assert asked.names <= reader.globals, f"{asked.names - reader.globals} was not seen"


def checkpoint(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=_MEMORY, suffix=".pth") as file:
        Path(file.name).write_bytes(data)
        summary = summarize(Path(file.name))
    assert summary.is_safe or summary.problem or summary.foreign_globals
