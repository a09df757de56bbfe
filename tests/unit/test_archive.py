"""A bundle as one tar: written and read in one pass."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import (
    blob_file,
    clean_environment,
    damage,
    filled_store,
    leftovers,
    make_small_set,
    run_cli,
    tree,
)

from xttsreg.errors import AlreadyExists, BundleMismatch, IntegrityError, InvalidInputError
from xttsreg.ops.archive import import_archive
from xttsreg.ops.bundle import bundle, bundle_archive
from xttsreg.ops.importing import Imported
from xttsreg.stores.layout import LayoutStore


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> LayoutStore:
    root = tmp_path_factory.mktemp("origin")
    return filled_store(root / "home" / "store", make_small_set(root / "w", model_pth=20_000))


@pytest.fixture(scope="module")
def made(origin: LayoutStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "bundle.tar"
    bundle_archive(origin, origin.tags(), path)
    return path


def imported(data: bytes, store: LayoutStore) -> Imported:
    return import_archive(io.BytesIO(data), store, what="x.tar")


def test_it_is_the_same_bundle_as_the_directory(
    made: Path, origin: LayoutStore, tmp_path: Path
) -> None:
    bundle(origin, origin.tags(), tmp_path / "stick")
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "-xf", made, "-C", tmp_path / "unpacked"], check=True)
    assert tree(tmp_path / "unpacked") == tree(tmp_path / "stick")
    with tarfile.open(made) as tar:
        names = tar.getnames()
        assert {(m.mtime, m.uid, m.uname) for m in tar} == {(0, 0, "")}
    assert names[:4] == ["SHA256SUMS", "bundle.json", "index.json", "oci-layout"]


def test_the_same_again_is_the_same_file(made: Path, origin: LayoutStore, tmp_path: Path) -> None:
    bundle_archive(origin, origin.tags(), tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == made.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["again.tar"]


def test_through_a_pipe(origin: LayoutStore, tmp_path: Path) -> None:
    out = [sys.executable, "-m", "xttsreg", "bundle", "own:v1", "--archive", "-"]
    into = [sys.executable, "-m", "xttsreg", "import", "-"]
    with subprocess.Popen(
        out, stdout=subprocess.PIPE, env=clean_environment(origin.root.parent)
    ) as writer:
        done = subprocess.run(
            into, stdin=writer.stdout, env=clean_environment(tmp_path / "home"), capture_output=True
        )
    assert (writer.returncode, done.returncode) == (0, 0), done.stderr
    assert done.stdout.startswith(b"own:v1@sha256:")
    assert tree(tmp_path / "home" / "store") == tree(origin.root)
    store = LayoutStore.open_existing(tmp_path / "home" / "store")
    assert leftovers(store) == []


def test_from_a_file_twice(made: Path, origin: LayoutStore, tmp_path: Path) -> None:
    for copied in (True, False):
        done = run_cli(["import", made, "--json"], tmp_path / "home")
        assert (done.code, '"imported_bytes": 0' in done.stdout) == (0, not copied)
    assert tree(tmp_path / "home" / "store") == tree(origin.root)


def test_skopeo_reads_it(made: Path, tmp_path: Path) -> None:
    if not shutil.which("skopeo"):
        pytest.skip("no skopeo here")
    place = f"oci-archive:{made}:own:v1"
    done = subprocess.run(["skopeo", "inspect", "--raw", place], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "org.cncf.model.filepath" in done.stdout


@given(data=st.data())
def test_one_bit_or_one_byte_less(made: Path, data: st.DataObject) -> None:
    """Nothing is taken, whatever bit of a file is wrong, and wherever the archive ends."""
    with tarfile.open(made) as tar:
        spans = [(m.offset_data, m.size) for m in tar if m.size]
    good = made.read_bytes()
    end = max(start + size for start, size in spans)
    store = LayoutStore.at(made.parent / "never")
    if data.draw(st.booleans(), label="cut"):
        bad = good[: data.draw(st.integers(0, end - 1), label="length")]
    else:
        start, size = data.draw(st.sampled_from(spans), label="file")
        offset = start + data.draw(st.integers(0, size - 1), label="offset")
        changed = bytearray(good)
        changed[offset] ^= 1 << data.draw(st.integers(0, 7), label="bit")
        bad = bytes(changed)
    with pytest.raises((IntegrityError, InvalidInputError)) as caught:
        imported(bad, store)
    assert caught.value.hint
    assert not (store.root / "index.json").exists()
    assert list(store.blob_digests()) == []
    assert leftovers(store) == []


def rewritten(made: Path, change: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(made) as tar, tarfile.open(fileobj=out, mode="w") as new:
        members = tar.getmembers()
        if change == "order":
            members = members[::-1]
        for member in members:
            file = tar.extractfile(member)
            if change == "link" and member.size == 20_000:
                member.type, member.linkname, member.size = tarfile.SYMTYPE, "/etc/passwd", 0
            new.addfile(member, file)
            if change == "twice" and member.size == 20_000:
                file = tar.extractfile(member)
                new.addfile(member, file)
        if change == "more":
            new.addfile(tarfile.TarInfo("../evil"), io.BytesIO())
    return out.getvalue()


@pytest.mark.parametrize("change", ["order", "link", "twice", "more"])
def test_not_as_we_wrote_it(made: Path, tmp_path: Path, change: str) -> None:
    store = LayoutStore.at(tmp_path / "second")
    with pytest.raises((BundleMismatch, InvalidInputError)) as caught:
        imported(rewritten(made, change), store)
    assert caught.value.hint
    assert list(store.blob_digests()) == []


def test_names_do_not_move_in_silence(made: Path, tmp_path: Path) -> None:
    store = filled_store(tmp_path / "second", make_small_set(tmp_path / "w", seed=5))
    before = tree(store.root)
    with pytest.raises(AlreadyExists):
        imported(made.read_bytes(), store)
    assert tree(store.root) == before


def test_a_damaged_store_leaves_no_file(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "store", make_small_set(tmp_path / "w"))
    damage(blob_file(store, "model.pth"), 9)
    with pytest.raises(IntegrityError):
        bundle_archive(store, store.tags(), tmp_path / "out" / "x.tar")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "args", [["-o", "d"], ["--volume-size", "9MB"], ["--readback"], ["--max-file-size", "4GiB"]]
)
def test_options_that_do_not_go_together(
    origin: LayoutStore, tmp_path: Path, args: list[str]
) -> None:
    done = run_cli(
        ["bundle", "own:v1", "--archive", tmp_path / "x.tar", *args],
        origin.root.parent,
        cwd=tmp_path,
    )
    assert (done.code, "--archive" in done.error, list(tmp_path.iterdir())) == (2, True, [])
