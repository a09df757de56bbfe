"""Checkpoints that were made to run code, on the way into the store: patterns of known bypasses."""

from __future__ import annotations

import io
import pickle
import random
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
from support import catalog_for, checkpoint, filled_store, make_small_set, never_ask, run_cli

from fault.world import litter, problems
from xttsreg.catalog import Catalog
from xttsreg.content.reference import Reference
from xttsreg.errors import IntegrityError, UnsafePickle
from xttsreg.ops.add import add
from xttsreg.ops.bundle import bundle
from xttsreg.ops.gate import Policy
from xttsreg.ops.importing import import_bundle
from xttsreg.stores.layout import LayoutStore

EVIL = (
    b"cposix\nsystem\n(S'touch /tmp/never'\ntR"  # protocol 0: GLOBAL, MARK, STRING, TUPLE, REDUCE
)
EMPTY = b"\x80\x02}."
MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
SYSTEM = pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {}}, 2)
LEGACY = MAGIC + pickle.dumps(1001, 2) + SYSTEM


def archive(*members: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        for name, data in members:
            made.writestr(name, data)
    return file.getvalue()


def _other_local_header() -> bytes:
    """The table of contents says data.pkl, the member itself another name, and the reverse."""
    good = archive(("a/data.pkl", EMPTY), ("a/evil.pkl", EVIL + b"."))
    local = good.index(b"a/data.pkl")
    return good[:local] + b"a/evil.pkl" + good[local + 10 :]


def _two_tables() -> bytes:
    """Two archives in one file: the second one's table lies in the comment of the first."""
    evil, good = archive(("a/data.pkl", EVIL + b".")), archive(("a/data.pkl", EMPTY))
    return evil[:-2] + struct.pack("<H", len(good)) + good


def _tar_and_legacy() -> bytes:
    """A tar archive whose first name is the beginning of a legacy checkpoint."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        member = tarfile.TarInfo("x" * 90)
        member.size = len(EVIL)
        made.addfile(member, io.BytesIO(EVIL))
    data = bytearray(file.getvalue())
    start = LEGACY + b"\x80\x02C\xff."
    data[:100] = start[:100].ljust(100, b"\0")
    header = bytes(data[:148]) + b" " * 8 + bytes(data[156:512])
    data[148:156] = b"%06o\0 " % sum(header)
    return bytes(data)


def _short(text: bytes) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text


MEMO = (  # names put together from the memo, where a scanner that reads texts in order is lost
    b"\x80\x04" + _short(b"system") + b"\x940" + _short(b"posix") + b"\x94h\x00\x93"
    + _short(b"id") + b"\x85R."
)  # fmt: skip
HOSTILE = {
    "plain": archive(("a/data.pkl", EVIL + b".")),
    "after pop": archive(("a/data.pkl", b"\x80\x02" + EVIL + b"0}.")),
    "names from the memo": archive(("a/data.pkl", MEMO)),
    "inst": archive(("a/data.pkl", b"(S'id'\niposix\nsystem\n.")),
    "obj": archive(("a/data.pkl", b"(cposix\nsystem\nS'id'\no.")),
    "newobj": archive(("a/data.pkl", b"\x80\x02cposix\nsystem\n)\x81.")),
    "extension 1": archive(("a/data.pkl", b"\x80\x02\x82\x01.")),
    "extension 4": archive(("a/data.pkl", b"\x80\x02\x84\x01\x00\x00\x00.")),
    "builtins": archive(("a/data.pkl", b"\x80\x02cbuiltins\neval\n(S'1'\ntR.")),
    "loads inside": archive(("a/data.pkl", b"\x80\x02c_pickle\nloads\n(S'x'\ntR.")),
    "attribute of an allowed module": archive(
        ("a/data.pkl", b"\x80\x04" + _short(b"torch._utils") + _short(b"os.system") + b"\x93.")
    ),
    "torch's own loader": archive(("a/data.pkl", b"\x80\x02ctorch.serialization\nload\n.")),
    "breaks off after the call": archive(("a/data.pkl", b"\x80\x02" + EVIL)),
    "unknown opcode after the call": archive(("a/data.pkl", b"\x80\x02" + EVIL + b"\xff.")),
    "two data.pkl": archive(("a/data.pkl", EMPTY), ("b/data.pkl", EVIL + b".")),
    "another case": archive(("a/data.pkl", EMPTY), ("a/DATA.PKL", EVIL + b".")),
    "only another case": archive(("a/Data.pkl", EVIL + b".")),
    "other local header": _other_local_header(),
    "two tables of contents": _two_tables(),
    "bytes in front": b"PK\x03\x04" + archive(("a/data.pkl", EVIL + b".")),
    "deflated": archive(("a/data.pkl", EVIL + b"."), compression=zipfile.ZIP_DEFLATED),
    "deflated, and harmless": archive(("a/data.pkl", EMPTY), compression=zipfile.ZIP_DEFLATED),
    "bzip2": archive(("a/data.pkl", EVIL + b"."), compression=zipfile.ZIP_BZIP2),
    "deflate64": archive(("a/data.pkl", EMPTY)).replace(
        b"PK\x01\x02\x14\x03\x14\0\0\0\0\0", b"PK\x01\x02\x14\x03\x14\0\0\0\x09\0"
    ),
    "torchscript": archive(("a/data.pkl", EMPTY), ("a/constants.pkl", EVIL + b".")),
    "another folder first": archive(("z/version", b"3"), ("a/data.pkl", EMPTY)),
    "legacy": LEGACY + EVIL + b".",
    "legacy, in the magic's place": EVIL + b"." + LEGACY + EMPTY + pickle.dumps([], 2),
    "legacy, in the storages' keys": LEGACY + EMPTY + EVIL + b".",
    "legacy, without keys": LEGACY + EMPTY,
    "legacy, in the system information": MAGIC + pickle.dumps(1001, 2) + EVIL + b"." + EMPTY,
    "tar": _tar_and_legacy(),
    "a plain pickle": EVIL + b".",
    "a pickle after another": EMPTY + EVIL + b".",
    "noise": random.Random(1).randbytes(5000),
    "empty": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_it_does_not_come_in(name: str, tmp_path: Path) -> None:
    weights = make_small_set(tmp_path / "weights")
    (weights / "dvae.pth").write_bytes(HOSTILE[name])
    store = LayoutStore.at(tmp_path / "store")
    with pytest.raises(IntegrityError) as caught:
        add(store, Reference.parse("own:v1"), weights, Catalog([]), ask=never_ask)
    assert "dvae.pth" in caught.value.message
    assert not store.root.exists()


def test_a_pickle_under_another_name_is_one_all_the_same(tmp_path: Path) -> None:
    weights = make_small_set(tmp_path / "weights")
    (weights / "speakers_xtts.pth").rename(weights / "vocab.json")
    (weights / "vocab.json").write_bytes(HOSTILE["plain"])
    with pytest.raises(UnsafePickle, match=r"posix\.system"):
        add(LayoutStore.at(tmp_path / "store"), Reference.parse("own:v1"), weights,
            Catalog([]), ask=never_ask)  # fmt: skip


def test_a_bundle_cannot_bring_it_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that was filled without the check, and a bundle of it that is right to the bit."""
    weights = make_small_set(tmp_path / "weights")
    (weights / "dvae.pth").write_bytes(HOSTILE["plain"])
    with monkeypatch.context() as patch:
        patch.setattr("xttsreg.ops.globals._may_be_pickle", lambda name, path: False)
        sender = filled_store(tmp_path / "sender", weights)
    bundle(sender, sender.tags(), tmp_path / "stick")
    target = filled_store(tmp_path / "target", make_small_set(tmp_path / "w", seed=5), ref="me:v1")
    with pytest.raises(UnsafePickle, match=r"dvae\.pth.*posix\.system"):
        import_bundle(tmp_path / "stick", target)
    assert list(target.tags()) == ["me:v1"]
    assert problems(target) == []
    assert run_cli(["gc", "--yes", "--store", target.root], tmp_path / "home").code == 0
    assert litter(target) == []
    import_bundle(tmp_path / "stick", target, policy=Policy(allow_globals=["posix.system"]))
    assert _notes(target) == ["posix.system"]


def test_what_is_allowed_by_name_is_taken_and_noted(tmp_path: Path) -> None:
    weights = make_small_set(tmp_path / "weights")
    pickled = b"\x80\x02}U\x01acnumpy\ndtype\ns."
    (weights / "dvae.pth").write_bytes(checkpoint(random.Random(1), 5000, pickled))
    refused = run_cli(["add", "own:v1", weights], tmp_path / "home")
    assert (refused.code, "numpy.dtype" in refused.error) == (4, True)
    assert "--allow-globals numpy.dtype" in refused.hint
    options = ["--allow-globals", "numpy.dtype", "--allow-globals", "not.needed"]
    done = run_cli(["add", "own:v1", weights, *options], tmp_path / "home")
    assert done.code == 0, done.stderr
    store = LayoutStore.open_existing(tmp_path / "home" / "store")
    assert _notes(store) == ["numpy.dtype"]


def test_what_the_catalogue_pins_is_known(tmp_path: Path) -> None:
    weights = make_small_set(tmp_path / "weights")
    (weights / "dvae.pth").write_bytes(HOSTILE["plain"])
    catalog = Catalog.load(catalog_for(tmp_path / "catalog", weights))
    add(LayoutStore.at(tmp_path / "store"), Reference.parse("small"), weights, catalog,
        ask=never_ask)  # fmt: skip


def _notes(store: LayoutStore) -> list[str]:
    return [
        manifest.annotations["io.xttsreg.globals.allowed"]
        for entry in store.tags().values()
        for _, manifest in store.referrers(entry.digest)
        if "io.xttsreg.globals.allowed" in manifest.annotations
    ]
