"""Bundles as somebody would make them who means harm: every digest, size and list is right."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import sha256_of

Value = dict[str, Any]
REF_NAME = "org.opencontainers.image.ref.name"
FILE_PATH = "org.cncf.model.filepath"
TITLE = "org.opencontainers.image.title"


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Forger:
    """Changes a stick, and makes its lists right again.

    Args:
        stick: A bundle in a directory, of one set.
    """

    def __init__(self, stick: Path) -> None:
        self.stick = stick
        (stick / "SHA256SUMS.sig").unlink(missing_ok=True)  # that cannot be forged
        self.index: Value = json.loads((stick / "index.json").read_bytes())
        self.listing: Value = json.loads((stick / "bundle.json").read_bytes())
        self.entry: Value = next(e for e in self.index["manifests"] if "annotations" in e)
        self.known: dict[str, str] = {}
        self.manifest: Value = json.loads(self.blob(self.entry["digest"]).read_bytes())

    def blob(self, digest: str) -> Path:
        return self.stick / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def put(self, data: bytes) -> Value:
        """Add a blob; its descriptor."""
        digest = digest_of(data)
        self.blob(digest).write_bytes(data)
        return {"mediaType": "application/octet-stream", "digest": digest, "size": len(data)}

    def layer(self, path: str, data: bytes = b"evil", **more: object) -> Value:
        """A layer for a file of this name, whatever the name is."""
        return {**self.put(data), "annotations": {FILE_PATH: path, TITLE: path}, **more}

    def set_manifest(self, change: Callable[[Value], object] | bytes) -> Forger:
        """Replace the manifest, by a change of its value or by bytes."""
        if isinstance(change, bytes):
            data = change
        else:
            change(self.manifest)
            data = json.dumps(self.manifest).encode()
        before = self.entry["digest"]
        self.blob(before).unlink()
        self.entry |= {k: v for k, v in self.put(data).items() if k != "mediaType"}
        for ref in self.listing["refs"]:
            if ref["digest"] == before:
                ref["digest"] = self.entry["digest"]
        return self

    def set_index(self, data: bytes | None = None) -> Forger:
        """Write the index, as it is by now, or these bytes."""
        data = json.dumps(self.index).encode() if data is None else data
        (self.stick / "index.json").write_bytes(data)
        return self

    def relist(self, **changes: object) -> Forger:
        """Have bundle.json list what lies there."""
        top = {"SHA256SUMS", "SHA256SUMS.sig", "bundle.json"}
        every = {f["path"]: f["volume"] for f in self.listing["files"]}
        self.listing["files"] = [
            {"path": path, "size_bytes": (self.stick / path).stat().st_size,
             "digest": f"sha256:{digest}", "volume": every.get(path, 1)}
            for path, digest in self._tree().items()
            if path not in top
        ]  # fmt: skip
        self.listing |= changes
        return self.set_listing(json.dumps(self.listing).encode())

    def set_listing(self, data: bytes) -> Forger:
        """Write bundle.json and the SHA256SUMS that goes with it."""
        (self.stick / "bundle.json").write_bytes(data)
        lines = [f"{digest}  {path}\n" for path, digest in sorted(self._tree().items())
                 if path not in ("SHA256SUMS", "SHA256SUMS.sig")]  # fmt: skip
        (self.stick / "SHA256SUMS").write_bytes("".join(lines).encode())
        return self

    def _tree(self) -> Value:
        """Digests of all files; of huge ones that are `known`."""
        paths = (path for path in self.stick.rglob("*") if path.is_file())
        names = ((path.relative_to(self.stick).as_posix(), path) for path in paths)
        return {name: self.known.get(name) or sha256_of(path) for name, path in names}

    def done(self) -> None:
        """The index as it is by now, and everything listed."""
        self.set_index().relist()
