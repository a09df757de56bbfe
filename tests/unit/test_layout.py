from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT, blob_of, damage, leftovers, read_only, tree

from xttsreg.content.digest import Digest
from xttsreg.content.manifest import MANIFEST_TYPE
from xttsreg.errors import (
    DigestMismatch,
    IntegrityError,
    InvalidManifest,
    NewerFormat,
    ReadOnlyMedia,
    SizeMismatch,
    StoreLocked,
    StoreNotFound,
    XttsregError,
)
from xttsreg.ops.gc import gc
from xttsreg.stores import durable
from xttsreg.stores.layout import LayoutStore

DATA = b"some weights" * 1000
BLOB = blob_of(DATA)


def put(store: LayoutStore, data: bytes = DATA) -> Path:
    store.put(blob_of(data), io.BytesIO(data))
    return store.blob_path(Digest.of(data))


# --- the format --------------------------------------------------------------------------------


def test_a_new_store_is_an_oci_layout(store: LayoutStore) -> None:
    assert json.loads((store.root / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert (store.root / "blobs" / "sha256").is_dir()
    store.tag("a:1", store.put_bytes(MANIFEST_TYPE, DATA))
    index = json.loads((store.root / "index.json").read_bytes())
    assert index["schemaVersion"] == 2
    assert [m["annotations"] for m in index["manifests"]] == [
        {"org.opencontainers.image.ref.name": "a:1"}
    ]


def test_a_blob_is_a_file_that_is_named_by_its_digest_and_read_only(store: LayoutStore) -> None:
    path = put(store)
    assert path == store.root / "blobs" / "sha256" / BLOB.digest.hex
    assert path.read_bytes() == DATA
    assert path.stat().st_mode & 0o777 == 0o444


def test_opening_does_not_make(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound) as caught:
        LayoutStore.open_existing(tmp_path / "none")
    assert (caught.value.exit_code, (tmp_path / "none").exists()) == (5, False)


@pytest.mark.parametrize("opening", [LayoutStore.create, LayoutStore.open_existing])
@pytest.mark.parametrize(
    ("text", "error"),
    [('{"imageLayoutVersion":"2.0.0"}', NewerFormat), ("{}", NewerFormat), ("x", InvalidManifest)],
)
def test_an_unknown_layout_is_left_alone(
    tmp_path: Path, opening: type, text: str, error: type[XttsregError]
) -> None:
    (tmp_path / "oci-layout").write_text(text)
    with pytest.raises(error):
        opening(tmp_path)
    assert tree(tmp_path, state=True).keys() == {"oci-layout"}


def test_a_damaged_index_is_an_error_and_is_not_overwritten(store: LayoutStore) -> None:
    manifest = store.put_bytes(MANIFEST_TYPE, DATA)
    (store.root / "index.json").write_text('{"schemaVersion":2,"manif')
    with pytest.raises(InvalidManifest):
        store.tag("a:1", manifest)
    assert (store.root / "index.json").read_text() == '{"schemaVersion":2,"manif'


# --- whole or not at all -----------------------------------------------------------------------


def test_nothing_temporary_is_left(store: LayoutStore) -> None:
    put(store)
    with pytest.raises(DigestMismatch):
        store.put(blob_of(b"ab"), io.BytesIO(b"ac"))
    with store.resumable(blob_of(b"ab")) as writer:
        assert writer
        with pytest.raises(SizeMismatch):
            writer.write(b"abc")
    store.tag("a:1", store.put_bytes(MANIFEST_TYPE, b"{}"))
    found = [path for path in leftovers(store) if Path(path).stat().st_size]
    assert found == []


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_crash_at_the_last_moment_leaves_the_old_state(
    store: LayoutStore, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    store.tag("a:1", store.put_bytes(MANIFEST_TYPE, b"{}"))
    second = store.put_bytes(MANIFEST_TYPE, b"{ }")
    before = tree(store.root)

    def crash(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(*((Path, "replace") if call == "replace" else (os, "fsync")), crash)
        with pytest.raises(XttsregError) as failed_put:
            put(store)
        with pytest.raises(XttsregError):
            store.tag("a:1", second)
    assert failed_put.value.exit_code == 5
    assert tree(store.root) == before
    assert leftovers(store) == []


def test_fsync_comes_before_the_name_and_the_directory_after_it(
    store: LayoutStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        events.append("sync " + os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))  # noqa: PTH119, PTH115
        real_fsync(descriptor)

    def replace(self: Path, target: Path) -> Path:
        if Path(target) == store.blob_path(BLOB.digest):
            events.append(f"name {self.name}")
        return real_replace(self, target)

    if not Path("/proc/self/fd").exists():
        pytest.skip("no /proc here")
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    put(store)
    named = next(i for i, event in enumerate(events) if event.startswith("name "))
    temporary = events[named].removeprefix("name ")
    assert f"sync {temporary}" in events[:named]
    assert events[named + 1] == "sync sha256"


# --- what is there is not trusted ---------------------------------------------------------------


def test_a_damaged_blob_is_not_there_and_is_healed_by_the_next_put(store: LayoutStore) -> None:
    path = put(store)
    assert store.has(BLOB)
    damage(path, 5)
    assert not store.has(BLOB)
    assert not LayoutStore.open_existing(store.root).has(BLOB)
    put(store)
    assert path.read_bytes() == DATA
    assert store.has(BLOB)


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"x", b""])
def test_a_blob_of_another_length_is_not_there(store: LayoutStore, data: bytes) -> None:
    path = put(store)
    path.chmod(0o644)
    path.write_bytes(data)
    assert not store.has(BLOB)


def test_small_content_is_healed_too(store: LayoutStore) -> None:
    described = store.put_bytes("a/b", DATA)
    damage(store.blob_path(described.digest))
    store.put_bytes("a/b", DATA)
    assert store.blob_path(described.digest).read_bytes() == DATA


@pytest.mark.parametrize("kind", ["fifo", "directory", "symlink", "dangling"])
def test_only_a_regular_file_is_a_blob(store: LayoutStore, tmp_path: Path, kind: str) -> None:
    path = store.blob_path(BLOB.digest)
    right = tmp_path / "right"
    right.write_bytes(DATA)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(right if kind == "symlink" else tmp_path / "nowhere")
    assert not store.has(BLOB)
    with pytest.raises(IntegrityError) as caught:
        store.open(BLOB)
    assert path.name in caught.value.message
    if kind != "directory":
        put(store)
        assert store.has(BLOB)
        assert not path.is_symlink()
        assert right.read_bytes() == DATA


def test_a_record_spares_the_second_read_unless_told(store: LayoutStore) -> None:
    path = put(store)
    read: list[int] = []
    status = path.stat()
    damage(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # rot that no record can see
    assert store.has(BLOB, advance=read.append)
    assert not store.has(BLOB, use_cache=False)
    assert not store.has(BLOB), "what was found wrong must not be believed again"


def test_a_record_of_nonsense_is_no_record(store: LayoutStore) -> None:
    path = put(store)
    (store.state / "verified" / BLOB.digest.hex).write_bytes(b"\xff\x00")
    damage(path)
    assert not LayoutStore.open_existing(store.root).has(BLOB)


# --- taking over files --------------------------------------------------------------------------


def test_a_file_is_taken_by_link_only_if_allowed(store: LayoutStore, tmp_path: Path) -> None:
    for number, hardlink in enumerate([False, True]):
        data = b"%d" % number + DATA
        path = tmp_path / f"f{number}"
        path.write_bytes(data)
        with store.writing():
            store.stage_file(blob_of(data), path, hardlink=hardlink)()
        assert store.has(blob_of(data))
        same = path.stat().st_ino == store.blob_path(Digest.of(data)).stat().st_ino
        assert same <= hardlink
        if not hardlink:
            path.write_bytes(b"mine again")
            assert store.has(blob_of(data), use_cache=False)


@pytest.mark.parametrize("hardlink", [False, True])
def test_a_wrong_file_is_refused_and_kept(
    store: LayoutStore, tmp_path: Path, hardlink: bool
) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"S" + DATA[1:])
    with store.writing(), pytest.raises(DigestMismatch):
        store.stage_file(BLOB, path, hardlink=hardlink)
    assert path.read_bytes() == b"S" + DATA[1:]
    assert not store.has(BLOB)
    assert leftovers(store) == []


def test_a_symlink_is_never_taken_over_as_one(store: LayoutStore, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(DATA)
    (tmp_path / "link").symlink_to(tmp_path / "f")
    with store.writing():
        store.stage_file(BLOB, tmp_path / "link", hardlink=True)()
    assert store.has(BLOB)
    assert not store.blob_path(BLOB.digest).is_symlink()


def test_staging_needs_a_lease(store: LayoutStore) -> None:
    with pytest.raises(RuntimeError, match="writing"):
        store.stage(BLOB, io.BytesIO(DATA))


# --- resuming -----------------------------------------------------------------------------------


def test_goes_on_where_it_stopped(store: LayoutStore) -> None:
    with contextlib.suppress(ConnectionError), store.resumable(BLOB) as writer:
        assert writer
        writer.write(DATA[:100])
        raise ConnectionError
    assert not store.blob_path(BLOB.digest).exists()
    with LayoutStore.open_existing(store.root).resumable(BLOB) as writer:
        assert writer
        assert writer.offset_bytes == 100
        writer.write(DATA[100:])
        writer.commit()
    assert store.has(BLOB)
    with store.resumable(BLOB) as writer:
        assert writer is None


def test_a_wrong_beginning_is_dropped_at_the_commit(store: LayoutStore) -> None:
    durable.make_directory(store.state / "partial")
    store.partial_path(BLOB.digest).write_bytes(b"wrong")
    with store.resumable(BLOB) as writer:
        assert writer
        writer.write(DATA[5:])
        with pytest.raises(DigestMismatch):
            writer.commit()
        assert writer.offset_bytes == 0
        assert not store.has(BLOB)
        writer.write(DATA)
        writer.commit()
    assert store.blob_path(BLOB.digest).read_bytes() == DATA


def test_a_beginning_that_is_too_long_is_dropped(store: LayoutStore) -> None:
    durable.make_directory(store.state / "partial")
    store.partial_path(BLOB.digest).write_bytes(DATA + b"x")
    with store.resumable(BLOB) as writer:
        assert writer
        assert writer.offset_bytes == 0


def test_an_uncommitted_blob_has_no_name(store: LayoutStore) -> None:
    with store.resumable(BLOB) as writer:
        assert writer
        writer.write(DATA)
    assert not store.has(BLOB)


# --- other processes ----------------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from xttsreg.stores.layout import LayoutStore
store = LayoutStore.open_existing(Path(sys.argv[1]))
with store.writing() as held:
    held.temporary().write_bytes(b"half")
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def writer(store: LayoutStore) -> Iterator[subprocess.Popen[str]]:
    """Another process that writes to the store."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


def test_gc_refuses_while_another_process_writes(
    store: LayoutStore, writer: subprocess.Popen[str]
) -> None:
    path = put(store)
    with pytest.raises(StoreLocked, match=str(writer.pid)) as caught:
        gc(store, dry_run=False)
    assert (caught.value.exit_code, path.exists()) == (5, True)
    writer.communicate("")
    assert gc(store, dry_run=False).blobs == [BLOB.digest]


def test_others_may_write_at_the_same_time(
    store: LayoutStore, writer: subprocess.Popen[str]
) -> None:
    put(store)
    assert writer.poll() is None
    assert len(leftovers(store)) == 1, "the temporary file of the living one must stay"


def test_what_a_killed_process_left_is_swept_by_the_next_writer(
    store: LayoutStore, writer: subprocess.Popen[str]
) -> None:
    writer.kill()
    writer.wait()
    assert len(leftovers(store)) == 1
    put(store)
    assert leftovers(store) == []


def test_the_index_waits_for_the_lock_and_then_says_who(store: LayoutStore) -> None:
    other = LayoutStore.open_existing(store.root)
    with store.locked(), pytest.raises(StoreLocked), other.locked(timeout_s=0.05):
        raise AssertionError("two have the lock")
    with other.locked(timeout_s=0.05):
        pass


def test_changes_of_two_do_not_get_lost(store: LayoutStore) -> None:
    manifest = store.put_bytes(MANIFEST_TYPE, b"{}")
    code = (
        "import sys; from pathlib import Path\n"
        "from xttsreg.stores.layout import LayoutStore\n"
        "store = LayoutStore.open_existing(Path(sys.argv[1]))\n"
        "entry = store.tags()['a:0']\n"
        "for i in range(20): store.tag(f'{sys.argv[2]}:{i}', entry)\n"
    )
    store.tag("a:0", manifest)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    both = [
        subprocess.Popen([sys.executable, "-c", code, str(store.root), name], env=environment)
        for name in ("b", "c")
    ]
    assert [process.wait() for process in both] == [0, 0]
    assert len(store.tags()) == 41


# --- media --------------------------------------------------------------------------------------


def test_a_read_only_store_can_be_read_and_says_what_it_is(store: LayoutStore) -> None:
    put(store)
    store.tag("a:1", store.put_bytes(MANIFEST_TYPE, b"{}"))
    with read_only(store.root):
        reader = LayoutStore.open_existing(store.root)
        assert not reader.is_writable()
        assert list(reader.tags()) == ["a:1"]
        assert reader.has(BLOB, use_cache=False)
        with pytest.raises(ReadOnlyMedia):
            reader.tag("b:1", reader.tags()["a:1"])
        with pytest.raises(ReadOnlyMedia) as caught:
            put(reader, b"other")
        assert caught.value.exit_code == 5
    assert store.is_writable()


def test_an_empty_index_file_is_no_empty_store(filled: LayoutStore) -> None:
    (filled.root / "index.json").write_bytes(b"")
    with pytest.raises(InvalidManifest):
        LayoutStore(filled.root).tags()
