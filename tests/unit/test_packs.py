"""How a folder's files become layers, and what a pack is to others."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import blob_of

from xttsreg.content.digest import Digest
from xttsreg.content.packs import LISTED_BYTES, PACKED_BYTES, File, split
from xttsreg.content.stream import no_advance
from xttsreg.errors import DigestMismatch, IntegrityError, InvalidDataset, UnsafePath
from xttsreg.ops.packing import PackReader, unpack

MANY = [File(f"wavs/clip_{number:05}.wav", 200_000) for number in range(3000)]


def test_few_files_are_layers_of_their_own() -> None:
    units = split([File("b", 1), File("a/x", 2), File("LICENSE", 3)])
    assert [(unit.name, unit.is_pack) for unit in units] == [
        ("LICENSE", False),
        ("a/x", False),
        ("b", False),
    ]


def test_many_files_are_packed_but_large_ones_and_terms() -> None:
    units = split([*MANY, File("Licence.md", 10), File("book.flac", PACKED_BYTES)])
    assert [unit.name for unit in units if not unit.is_pack] == ["Licence.md", "book.flac"]
    packs = [unit for unit in units if unit.is_pack]
    assert [file for unit in packs for file in unit.files] == MANY
    assert len(packs) < 60
    assert packs[0].name == ".packs/000001.tar"


def test_whether_to_pack_follows_from_names_alone() -> None:
    assert 900 < LISTED_BYTES // (220 + 2 * len(MANY[0].path)) < 1100
    assert split(MANY[:1000])[0].is_pack is split([File(f.path, 0) for f in MANY[:1000]])[0].is_pack


WHOLE = {tuple(unit.files) for unit in split(MANY)}


@given(st.integers(0, 2999))
@settings(max_examples=10)
def test_one_file_less_leaves_the_other_packs_as_they_are(number: int) -> None:
    less = {tuple(unit.files) for unit in split([*MANY[:number], *MANY[number + 1 :]])}
    # its own pack, and those behind it up to the next end that a name makes, not the size
    assert len(less - WHOLE) <= 5


def write(directory: Path, files: dict[str, bytes]) -> list[File]:
    for path, data in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(data)
    return sorted(File(path, len(data)) for path, data in files.items())


FILES = {"a.txt": b"hello", "empty": b"", "d/ü ñ.wav": bytes(1024), "d/" + "long" * 55: b"x" * 513}


def packed(directory: Path) -> bytes:
    reader = PackReader(directory, write(directory, FILES))
    return b"".join(iter(lambda: reader.read(1000), b""))


def test_the_bytes_of_a_pack_never_change(tmp_path: Path) -> None:
    # An interpreter whose tarfile writes otherwise would give every dataset another digest.
    assert Digest.of(packed(tmp_path)) == (
        "sha256:67e44fe786ddde080f8261270945fdc011ad074799f20e1b445e5f08ee57fa76"
    )


def test_any_tar_opens_a_pack(tmp_path: Path) -> None:
    data = packed(tmp_path / "from")
    (tmp_path / "to").mkdir()
    subprocess.run(["tar", "-x", "-C", tmp_path / "to"], input=data, check=True)
    found = {
        path.relative_to(tmp_path / "to").as_posix(): path.read_bytes()
        for path in (tmp_path / "to").rglob("*")
        if path.is_file()
    }
    assert found == FILES


@pytest.mark.parametrize("data", [b"hell", b"hello!"], ids=["shorter", "longer"])
def test_a_file_that_changes_while_it_is_read(tmp_path: Path, data: bytes) -> None:
    files = write(tmp_path, FILES)
    (tmp_path / "a.txt").write_bytes(data)
    reader = PackReader(tmp_path, files)
    with pytest.raises(InvalidDataset, match=r"a\.txt: has changed"):
        list(iter(lambda: reader.read(1000), b""))


def archive(*members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(data), kind, "/etc/passwd"
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "error"),
    [
        pytest.param(archive(("../x", b"1")), UnsafePath, id="above"),
        pytest.param(archive(("/x", b"1")), UnsafePath, id="absolute"),
        pytest.param(archive(("x", b""), kind=tarfile.SYMTYPE), IntegrityError, id="link"),
        pytest.param(archive(("x", b""), kind=tarfile.LNKTYPE), IntegrityError, id="hard link"),
        pytest.param(archive(("x", b""), kind=tarfile.FIFOTYPE), IntegrityError, id="fifo"),
        pytest.param(archive(("x", b"1"), ("x", b"2")), IntegrityError, id="twice"),
        pytest.param(b"no archive at all" * 100, IntegrityError, id="no archive"),
    ],
)
def test_a_hostile_pack_writes_nothing_outside(
    tmp_path: Path, data: bytes, error: type[Exception]
) -> None:
    target = tmp_path / "a" / "b"
    target.mkdir(parents=True)
    with pytest.raises(error):
        unpack(io.BytesIO(data), blob_of(data), target, no_advance)
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] in ([], [target / "x"])
    assert not (target / "x").is_symlink()


def test_other_bytes_behind_the_end_are_found(tmp_path: Path) -> None:
    data = archive(("x", b"1"))
    with pytest.raises(DigestMismatch):
        unpack(io.BytesIO(data[:-1] + b"!"), blob_of(data), tmp_path, no_advance)
