"""Tar archives that were made to harm: as a bundle in one file, and as a pack of a dataset."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support import blob_of, filled_store, leftovers, make_small_set, run_cli, tree

from xttsreg.errors import IntegrityError
from xttsreg.ops.bundle import bundle_archive
from xttsreg.ops.packing import unpack

BLOCK = 512


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    root = tmp_path_factory.mktemp("honest")
    store = filled_store(root / "store", make_small_set(root / "w", model_pth=3000, dvae_pth=500))
    bundle_archive(store, store.tags(), root / "stick.tar")
    return (root / "stick.tar").read_bytes()


def member(name: str, data: bytes = b"", **fields: object) -> bytes:
    """A header with its data; ``fields`` are of `tarfile.TarInfo`."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.PAX_FORMAT) + data + bytes(-len(data) % BLOCK)


def sparse_gnu(name: str, size: int) -> bytes:
    """A terabyte in a block, as GNU tar has written it for decades: a map in the header."""
    header = bytearray(member(name, b"x" * BLOCK, type=tarfile.GNUTYPE_SPARSE)[:BLOCK])
    header[257:265] = b"ustar  \0"
    header[386:410] = b"%011o\0%011o\0" % (0, BLOCK)
    header[483:495] = b"\x80" + size.to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + b"x" * BLOCK


def sparse_pax(name: str, size: int, version: str) -> bytes:
    """The same by extended attributes, in three versions."""
    fields = {
        "0.0": {"GNU.sparse.size": str(size), "GNU.sparse.numblocks": "1",
                "GNU.sparse.offset": "0", "GNU.sparse.numbytes": "1"},
        "0.1": {"GNU.sparse.size": str(size), "GNU.sparse.map": "0,1"},
        "1.0": {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": name,
                "GNU.sparse.realsize": str(size)},
    }[version]  # fmt: skip
    data = (b"1\n0\n1\n".ljust(BLOCK, b"\0") if version == "1.0" else b"") + b"x"
    return member(name, data, pax_headers=fields)


TERABYTE = 2**40
BOMBS: dict[str, Callable[[str], bytes]] = {
    "sparse, in the header": lambda name: sparse_gnu(name, TERABYTE),
    "sparse, 0.0": lambda name: sparse_pax(name, TERABYTE, "0.0"),
    "sparse, 0.1": lambda name: sparse_pax(name, TERABYTE, "0.1"),
    "sparse, 1.0": lambda name: sparse_pax(name, TERABYTE, "1.0"),
    "a name of a gigabyte": lambda name: member("x", type=tarfile.GNUTYPE_LONGNAME, size=2**30),
    "attributes of a gigabyte": lambda name: member("x", type=tarfile.XHDTYPE, size=2**30),
    "a size beyond the end": lambda name: member(name, size=2**33),
    "a negative size": lambda name: member(name, b"x", pax_headers={"size": "-1"}),
    "a size that is no number": lambda name: member(name, b"x", pax_headers={"size": "x"}),
    "link": lambda name: member(name, type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "hard link": lambda name: member(name, type=tarfile.LNKTYPE, linkname="/etc/passwd"),
    "device": lambda name: member(name, type=tarfile.CHRTYPE, devmajor=1, devminor=5),
    "block device": lambda name: member(name, type=tarfile.BLKTYPE, devmajor=8),
    "pipe": lambda name: member(name, type=tarfile.FIFOTYPE),
    "directory": lambda name: member(name, type=tarfile.DIRTYPE),
    "above": lambda name: member("../../evil", b"x"),
    "absolute": lambda name: member("/tmp/evil", b"x"),
    "drive": lambda name: member("C:\\evil", b"x"),
    "device of Windows": lambda name: member("NUL.txt", b"x"),
}
END = bytes(2 * BLOCK)


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("place", ["first", "behind the lists"])
def test_as_a_bundle(name: str, place: str, honest: bytes, tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(honest)) as tar:
        members = tar.getmembers()
    at = 0 if place == "first" else members[2].offset
    target = "SHA256SUMS" if place == "first" else members[2].name
    (tmp_path / "bad.tar").write_bytes(honest[:at] + BOMBS[name](target) + honest[at:])
    home = tmp_path / "home"
    store = filled_store(home / "store", make_small_set(tmp_path / "mine", seed=9), ref="me:v1")
    before = tree(home)
    done = run_cli(["import", tmp_path / "bad.tar"], home, timeout_s=20)
    assert done.code in (2, 4), done.stderr
    assert done.hint
    assert (tree(home), leftovers(store)) == (before, [])


@pytest.mark.parametrize("name", BOMBS)
def test_as_a_pack(name: str, tmp_path: Path) -> None:
    """The digest is right: somebody packed it like this."""
    data = member("good", b"1") + BOMBS[name]("evil") + END
    target = tmp_path / "a" / "b"
    target.mkdir(parents=True)
    with pytest.raises(IntegrityError):
        unpack(io.BytesIO(data), blob_of(data), target, lambda _: None)
    found = [path for path in tmp_path.rglob("*") if not path.is_dir()]
    assert {path.parent for path in found} == {target}
    assert all(path.is_file() and path.stat().st_size < BLOCK for path in found)


def test_a_pack_of_a_million_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xttsreg.ops.packing.MAX_FILES", 500)  # for the sake of time
    data = b"".join(member(str(n)) for n in range(600)) + END
    with pytest.raises(IntegrityError, match="more than 500 files"):
        unpack(io.BytesIO(data), blob_of(data), tmp_path, lambda _: None)


def test_a_compressed_archive_is_not_unpacked(honest: bytes, tmp_path: Path) -> None:
    """Whatever it would become: ours are not compressed."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("SHA256SUMS"))
    (tmp_path / "bad.tar").write_bytes(out.getvalue())
    done = run_cli(["import", tmp_path / "bad.tar"], tmp_path / "home")
    assert (done.code, bool(done.hint)) == (2, True)
    assert not (tmp_path / "home").exists()
