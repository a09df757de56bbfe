"""Whole bundles: an archive of any bytes, and an honest one with one document of it replaced.

All digests, sizes and lists of the second kind are right, as somebody would make them who means
harm; otherwise nothing would ever get past the first comparison.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from support import blob_of, filled_store, leftovers, make_small_set

from xttsreg.content.paths import check_relative_path
from xttsreg.errors import XttsregError
from xttsreg.ops.archive import import_archive
from xttsreg.ops.bundle import bundle_archive
from xttsreg.ops.packing import unpack
from xttsreg.ops.verify import verify
from xttsreg.stores.layout import LayoutStore

_MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
_BLOBS = "blobs/sha256/"
_SIZES = {"model_pth": 400, "dvae_pth": 350, "mel_stats_pth": 300, "speakers_xtts_pth": 320}


@cache
def honest() -> dict[str, bytes]:
    """The files of a small bundle, by name."""
    with tempfile.TemporaryDirectory(dir=_MEMORY) as scratch:
        weights = make_small_set(Path(scratch) / "weights", **_SIZES)
        for name in ("vocab.json", "config.json", "LICENSE.txt"):
            (weights / name).write_bytes(name.encode())
        store = filled_store(Path(scratch) / "store", weights)
        bundle_archive(store, store.tags(), Path(scratch) / "b.tar")
        with tarfile.open(Path(scratch) / "b.tar") as tar:
            return {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]


def packed(files: dict[str, bytes]) -> bytes:
    """An archive of them, in this order."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w|") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return data.getvalue()


def archive(data: bytes) -> None:
    """An archive of these bytes."""
    _import(data)


def index(data: bytes) -> None:
    """An honest bundle but for its index."""
    _import(_with({"index.json": data}))


def manifest(data: bytes) -> None:
    """An honest bundle but for the manifest of its set, which index and listing name."""
    files, entry = honest(), _entry()
    old, new = entry["digest"], "sha256:" + hashlib.sha256(data).hexdigest()
    changed = json.loads(files["index.json"])
    for each in changed["manifests"]:
        if each["digest"] == old:
            each |= {"digest": new, "size": len(data)}
    replaced = {_BLOBS + new[7:]: data, "index.json": json.dumps(changed).encode()}
    _import(_with(replaced, gone=_BLOBS + old[7:], digests={old: new}))


def listing(data: bytes) -> None:
    """An honest bundle but for bundle.json."""
    _import(_summed({**honest(), "bundle.json": data}))


def pack(data: bytes) -> None:
    """A pack of a dataset, whose digest is right."""
    with tempfile.TemporaryDirectory(dir=_MEMORY) as scratch:
        target = Path(scratch) / "above" / "target"
        target.mkdir(parents=True)
        try:
            unpack(io.BytesIO(data), blob_of(data), target, lambda _: None)
        finally:
            assert list(Path(scratch).iterdir()) == [target.parent]
            assert list(target.parent.iterdir()) == [target]
            for path in target.rglob("*"):
                assert not path.is_symlink()
                assert path.is_dir() or path.is_file()
                check_relative_path(path.relative_to(target).as_posix())


def own_manifest() -> bytes:
    """Of the set in the honest bundle."""
    return honest()[_BLOBS + str(_entry()["digest"])[7:]]


def _entry() -> dict[str, Any]:
    entries = json.loads(honest()["index.json"])["manifests"]
    return next(entry for entry in entries if "annotations" in entry)


def _with(
    files: dict[str, bytes], *, gone: str = "", digests: dict[str, str] | None = None
) -> bytes:
    """The honest bundle with other files, and everything listed as it is."""
    every = {**{n: d for n, d in honest().items() if n != gone}, **files}
    told = json.loads(every["bundle.json"])
    volumes = {file["path"]: file["volume"] for file in told["files"]}
    for ref in told["refs"]:
        ref["digest"] = (digests or {}).get(ref["digest"], ref["digest"])
    told["files"] = [
        {"path": name, "size_bytes": len(data), "volume": volumes.get(name, 0),
         "digest": "sha256:" + hashlib.sha256(data).hexdigest()}
        for name, data in every.items() if name not in ("SHA256SUMS", "bundle.json")
    ]  # fmt: skip
    return _summed({**every, "bundle.json": json.dumps(told).encode()})


def _summed(files: dict[str, bytes]) -> bytes:
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items())
             if name != "SHA256SUMS"]  # fmt: skip
    return packed({**files, "SHA256SUMS": "".join(lines).encode()})


def _import(data: bytes) -> None:
    """Taken whole, and then right; or refused, and then nothing has changed."""
    scratch = Path(tempfile.mkdtemp(dir=_MEMORY))
    try:
        store = LayoutStore.create(scratch / "store")
        try:
            import_archive(io.BytesIO(data), store, what="a")
        except XttsregError:
            assert not store.entries()
            assert not list(store.blob_digests())
            assert not leftovers(store)
            raise
        assert not verify(store, store.entries(), use_cache=False).problems
        assert [path.name for path in scratch.iterdir()] == ["store"]
    finally:
        shutil.rmtree(scratch)
