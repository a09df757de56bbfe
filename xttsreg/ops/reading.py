"""One volume of a bundle on a medium: what it says it is, held against what lies there.

The order is that of trust: the bytes of ``SHA256SUMS`` and their signature, before anything is
parsed; then ``bundle.json``, which the sums must name; then names and sizes on the medium; then
the small files. Blobs and parts are left to whoever copies them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from xttsreg.content.bundle import (
    BLOBS,
    LISTING,
    PARTS,
    SIGNATURE,
    SUMS,
    UNLISTED,
    Bundle,
    BundleFile,
    format_sums,
    parse_sums,
)
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import Index
from xttsreg.errors import BundleMismatch, InvalidInputError, InvalidManifest, UnsafePath
from xttsreg.ops.diagnosis import diagnose
from xttsreg.ops.smallfiles import INDEX
from xttsreg.ops.stick import walk
from xttsreg.stores.durable import disk_errors

AGAIN = "nothing was imported; carry the bundle again, or make it anew"
_LIST_BYTES = 64 * 1024 * 1024

CheckSignature = Callable[[bytes, bytes | None], None]
"""Gets the bytes of ``SHA256SUMS`` and of its signature, if there is one; raises if it is wrong."""


def accept_unsigned(sums: bytes, signature: bytes | None) -> None:
    """The `CheckSignature` that looks at nothing."""


@dataclass(frozen=True, slots=True)
class Volume:
    """One stick, of which everything but the blobs and parts is proven.

    Attributes:
        directory: Where it lies.
        bundle: What it belongs to.
        number: Which volume it is, from 1.
        listing: The bytes of ``bundle.json``.
        index: Of the whole bundle.
    """

    directory: Path
    bundle: Bundle
    number: int
    listing: bytes
    index: Index


def read_volume(directory: Path, *, check: CheckSignature = accept_unsigned) -> Volume:
    """Read and check a volume but for its blobs.

    Raises:
        InvalidInputError: no bundle, or malformed.
        NewerFormat: written by a later version.
        BundleMismatch: it does not hold what it says.
        XttsregError: what ``check`` raised.
    """
    _require_lists(directory)
    sums, listing = _read(directory / SUMS), _read(directory / LISTING)
    check(sums, _read_signature(directory / SIGNATURE))
    bundle, number = parse_lists(sums, listing)
    _compare(directory, bundle, number)
    small = _read_small(directory, bundle, number)
    return Volume(directory, bundle, number, listing, parse_index(bundle, small.get(INDEX)))


def parse_lists(sums_data: bytes, listing: bytes) -> tuple[Bundle, int]:
    """What ``SHA256SUMS`` and ``bundle.json`` say together: the bundle, and which volume this is.

    Raises:
        BundleMismatch: damaged, or they contradict each other.
        NewerFormat, InvalidManifest, UnsafePath: as `Bundle.parse`.
    """
    try:
        sums = parse_sums(sums_data)
    except InvalidManifest as error:
        raise BundleMismatch(error.message, hint=AGAIN) from None
    except UnsafePath as error:
        raise BundleMismatch(f"{SUMS}: {error.message}", hint=AGAIN) from None
    # Before it is parsed: a damaged listing is damaged, and not malformed or of a newer format.
    if sums.pop(LISTING, None) != Digest.of(listing):
        raise BundleMismatch(f"{LISTING}: not the one that {SUMS} names", hint=AGAIN)
    bundle = Bundle.parse(listing)
    number = bundle.nearest_volume(sums)
    expected = bundle.volume_files(number).items()
    different = {(path, file.digest) for path, file in expected} ^ set(sums.items())
    if different:
        raise BundleMismatch(f"{min(different)[0]}: {SUMS} and {LISTING} disagree", hint=AGAIN)
    if sums_data != format_sums({**sums, LISTING: Digest.of(listing)}):
        raise BundleMismatch(f"{SUMS}: not as it was written", hint=AGAIN)
    return bundle, number


def parse_index(bundle: Bundle, data: bytes | None) -> Index:
    """The index, of which the names must be those of the listing.

    Raises:
        BundleMismatch: there is none, or it has other names.
        InvalidManifest: malformed.
    """
    if data is None:
        raise BundleMismatch(f"{INDEX}: not in the bundle's listing", hint=AGAIN)
    index = Index.parse(data)
    promised = {ref.ref: ref.digest for ref in bundle.refs}
    if {tagged: entry.digest for tagged, entry in index.tags().items()} != promised:
        raise BundleMismatch(f"{INDEX}: other names than in {LISTING}", hint=AGAIN)
    return index


def _require_lists(directory: Path) -> None:
    if not directory.is_dir():
        word = "not a directory" if directory.exists() else "no such directory"
        raise InvalidInputError(f"{directory}: {word}", hint="give the directory of a bundle")
    for name in (SUMS, LISTING):
        if not (directory / name).is_file():
            raise InvalidInputError(
                f"{directory}: no bundle here ({name} is missing)",
                hint="give the directory that holds SHA256SUMS; if `xttsreg bundle` was "
                "interrupted, run it again",
            )


def _compare(directory: Path, bundle: Bundle, number: int) -> None:
    """Every file of the volume is there with its size, and no other."""
    expected = {path: f.size_bytes for path, f in bundle.volume_files(number).items()}
    found = dict(walk(directory))
    problems = [f"{path}: missing" for path in expected if path not in found]
    problems += [
        f"{path}: not in the bundle's listing"
        for path in found
        if path not in expected and path not in UNLISTED
    ]
    problems += [
        f"{path}: {'not a regular file' if size is None else f'{size} bytes'}, "
        f"expected {expected[path]} bytes"
        for path, size in found.items()
        if path in expected and size != expected[path]
    ]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise BundleMismatch(sorted(problems)[0] + more, hint=AGAIN)


def _read_small(directory: Path, bundle: Bundle, number: int) -> Mapping[str, bytes]:
    """Read and prove what is neither blob nor part: the index, and what people may run.

    They are kept in memory: a medium may give other bytes when it is asked again.
    """
    found = {}
    for path, file in bundle.volume_files(number).items():
        if not path.startswith((BLOBS, PARTS)):
            opened: BinaryIO
            require_small(file)
            with disk_errors(directory), (directory / path).open("rb") as opened:
                data = opened.read(file.size_bytes + 1)
            try:
                found[path] = prove_small(path, data, file.digest)
            except BundleMismatch as error:
                error.hint = diagnose([(directory / path, file.digest)], Digest.of(data))
                raise
    return found


def require_small(file: BundleFile) -> None:
    """Make sure that a file may be kept in memory.

    Raises:
        BundleMismatch: it is none that `bundle` writes.
    """
    if file.size_bytes > _LIST_BYTES:
        raise BundleMismatch(f"{file.path}: {file.size_bytes} bytes are too many", hint=AGAIN)


def prove_small(path: str, data: bytes, expected: Digest) -> bytes:
    """The bytes of a small file, if they are right.

    Raises:
        BundleMismatch: they are not.
    """
    actual = Digest.of(data)
    if actual != expected:
        raise BundleMismatch(f"{path}: digest is {actual}, expected {expected}", hint=AGAIN)
    return data


def _read_signature(path: Path) -> bytes | None:
    """The signature; None only if nothing at all is there."""
    if not os.path.lexists(path):
        return None
    if not path.is_file() or path.is_symlink():
        raise BundleMismatch(f"{SIGNATURE}: not a regular file", hint=AGAIN)
    return _read(path)


def _read(path: Path) -> bytes:
    with disk_errors(path), path.open("rb") as file:
        data = file.read(_LIST_BYTES + 1)
    if len(data) > _LIST_BYTES:
        raise BundleMismatch(f"{path.name}: is too long for what it should be", hint=AGAIN)
    return data
