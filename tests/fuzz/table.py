"""What is fuzzed, and what each begins with."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from support import checkpoint

from fuzz import carried, targets
from xttsreg.content.lock import Lock
from xttsreg.errors import XttsregError
from xttsreg.serve.paths import BadPath

_DIGEST = b"sha256:" + b"0" * 64
_BLOB = (
    b'{"mediaType":"a/b","digest":"' + _DIGEST + b'","size":2,"annotations":'
    b'{"org.cncf.model.filepath":"a/b.pth","org.opencontainers.image.ref.name":"a:b"}}'
)
_MANIFEST = (
    b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":'
    + _BLOB + b',"layers":[' + _BLOB + b'],"subject":' + _BLOB + b',"annotations":{"a":"b"}}'
)  # fmt: skip
_INDEX = b'{"schemaVersion":2,"manifests":[' + _BLOB + b'],"annotations":{}}'
_UUID = b"00000000-0000-4000-8000-000000000001"
_BUNDLE = (
    b'{"format_version":2,"bundle_id":"' + _UUID + b'","sequence":1,"previous":null,"created":"",'
    b'"tool":"t","volumes":1,"refs":[{"ref":"a:b","digest":"' + _DIGEST + b'"}],"based_on":[],'
    b'"requires":[],"files":[{"path":"parts/sha256/' + b"0" * 64 + b'.000","size_bytes":1,'
    b'"digest":"' + _DIGEST + b'","volume":1}],"parts":[{"digest":"' + _DIGEST + b'",'
    b'"size_bytes":1,"paths":["parts/sha256/' + b"0" * 64 + b'.000"]}]}'
)
_INVENTORY = (
    b'{"format_version":1,"created":"","tool":"t","refs":[{"ref":"a:b","digest":"' + _DIGEST
    + b'","size_bytes":1}],"blobs":{"' + _DIGEST + b'":1}}'
)  # fmt: skip
_SUMS = b"0" * 64 + b"  a/b\n" + b"1" * 64 + b" *c\n"
_RECIPE = (
    b'name = "a"\nmodels = ["a:b"]\n[[datasets]]\nref = "c:d"\npath = "e"\n'
    b'[[environments]]\npython = "3.11"\nplatform = "win_amd64"\nextras = ["train"]\n'
)
_CATALOG = (
    b'name = "a"\nrevision = "' + b"0" * 40 + b'"\nlanguages = ["en"]\n'
    b'sources = ["https://h/{revision}/{path}"]\n[license]\nid = "MIT"\nname = "n"\n'
    b'path = "L"\nacceptance_required = true\nsummary = ["s"]\n[[files]]\npath = "L"\n'
    b'size_bytes = 1\nsha256 = "' + b"1" * 64 + b'"\nroles = ["licence"]\n'
    b'[[files]]\npath = "model.pth"\nsize_bytes = 1\nsha256 = "' + b"0" * 64 + b'"\n'
    b'roles = ["train"]\n'
)
_ENVIRONMENT = (
    b'{"format_version":1,"python":"3.11","platform":"manylinux_2_28_x86_64","extras":["train"]}'
)
_PICKLES = (
    b"\x80\x02}.", b"(lp0\nI1\na.", b"ctorch._utils\n_rebuild_tensor_v2\n(Nt}R.",
    b"\x80\x04\x8c\x0bcollections\x94\x8c\x0bOrderedDict\x94\x93)R}b.",
    b"(Icollections\nOrderedDict\no.", b"(icollections\nOrderedDict\n.", b"\x80\x02]q\x00h\x00a.",
    b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
    b"X\x03\x00\x00\x00cpuK\x01tQ.", b"\x80\x02\x82\x01.", b"Pid\n.",
)  # fmt: skip
_REFERENCES = (b"a:b@" + _DIGEST, b"localhost:5000/a/b:v1")
_HEADERS = (
    b'Bearer realm="https://a/t",service="r",scope="s"', b"Basic realm=x, Bearer realm=\"\\\"\"",
    b"bytes=1-2", b"bytes=-5", b"bytes 0-1/10", b"bytes */10", b"120",
    b"Wed, 21 Oct 2026 07:28:00 GMT", b"/a/%20b/..%2f", b"https://u:p@[::1]:80/a?q#f",
)  # fmt: skip


def _lock() -> bytes:
    package = b"# wheel a-1-py3-none-any.whl 10\na==1 \\\n    --hash=sha256:" + b"0" * 64 + b"\n"
    config = Lock.of(
        python="3.11", platform="manylinux_2_28_x86_64", extras=["b"], packages=[], cuda=""
    )
    return config.to_bytes() + package


def _pack() -> bytes:
    return carried.packed({"a/b.wav": b"x" * 600, "c": b""})


@dataclass(frozen=True, slots=True)
class Target:
    """What is fuzzed.

    Attributes:
        run: Reads the bytes; raises `AssertionError`, or anything that is not ours, for a fault.
        seeds: What is right, or nearly.
        json: Whether to change values of JSON as well as bytes.
    """

    run: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]
    json: bool = False


TARGETS: dict[str, Target] = {
    "manifest": Target(targets.manifest, lambda: [_MANIFEST], json=True),
    "index": Target(targets.index, lambda: [_INDEX], json=True),
    "bundle": Target(targets.bundle, lambda: [_BUNDLE], json=True),
    "sums": Target(targets.sums, lambda: [_SUMS]),
    "inventory": Target(targets.inventory, lambda: [_INVENTORY], json=True),
    "environment": Target(targets.environment, lambda: [_ENVIRONMENT], json=True),
    "lock": Target(targets.lock, lambda: [_lock()]),
    "reference": Target(targets.reference, lambda: _REFERENCES),
    "paths": Target(targets.paths, lambda: [b"a/b.pth\nA/c", b"NUL.txt\na", b"a.\nb"]),
    "toml": Target(targets.toml, lambda: [_RECIPE, _CATALOG]),
    "headers": Target(targets.headers, lambda: _HEADERS),
    "secrets": Target(targets.secret_in_url, lambda: [b"x", b"@#?"]),
    "pickles": Target(targets.pickles, lambda: _PICKLES),
    "checkpoint": Target(
        targets.checkpoint, lambda: [checkpoint(random.Random(1), 400, _PICKLES[3]), *_PICKLES]
    ),
    "pack": Target(carried.pack, lambda: [_pack()]),
    "archive": Target(carried.archive, lambda: [carried.packed(carried.honest())]),
    "carried index": Target(carried.index, lambda: [carried.honest()["index.json"]], json=True),
    "carried manifest": Target(carried.manifest, lambda: [carried.own_manifest()], json=True),
    "carried listing": Target(
        carried.listing, lambda: [carried.honest()["bundle.json"]], json=True
    ),
}


def replay(target: Target, data: bytes) -> None:
    """Have a target read these bytes. What we refuse is no fault; everything else is."""
    with contextlib.suppress(XttsregError, BadPath):
        target.run(data)
