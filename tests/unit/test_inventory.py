from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import blob_file, blob_of, damage, filled_store, make_small_set
from support.ssh import allow, make_key, needs_ssh, ssh_keygen

from xttsreg.content.digest import Digest
from xttsreg.content.inventory import Inventory
from xttsreg.errors import (
    InvalidInputError,
    NewerFormat,
    SignatureInvalid,
    SignatureMissing,
    SigningFailed,
)
from xttsreg.ops.inventory import read_inventory, signature_path, take_inventory, write_inventory
from xttsreg.ops.signing import INVENTORY_NAMESPACE, SigningKey
from xttsreg.ops.trust import UNSIGNED, Trust
from xttsreg.stores.layout import LayoutStore

A = Digest.of(b"a")


def document(**changes: Any) -> bytes:
    value = {
        "format_version": 1,
        "created": "2026-01-01T00:00:00Z",
        "tool": "t",
        "refs": [{"ref": "a:1", "digest": A, "size_bytes": 1}],
        "blobs": {A: 1},
    }
    return json.dumps({**value, **changes}).encode()


# --- the document -------------------------------------------------------------------------------


def test_round_trip_and_fields_of_later_versions() -> None:
    one = Inventory.parse(document(more="x"))
    assert Inventory.parse(one.to_bytes()) == one
    assert json.loads(one.to_bytes()) == json.loads(document(more="x"))


def test_a_newer_format_is_said_before_anything_else_is_read() -> None:
    with pytest.raises(NewerFormat, match="version 2"):
        Inventory.parse(b'{"format_version": 2, "blobs": "elsewhere"}')


@pytest.mark.parametrize(
    "changes",
    [
        {"format_version": 0},
        {"format_version": True},
        {"refs": [{"ref": "Not A Name", "digest": A, "size_bytes": 1}]},
        {"refs": [{"ref": "a", "digest": A, "size_bytes": 1}]},
        {"blobs": {A: -1}},
        {"blobs": {A: "1"}},
        {"blobs": {"../x": 1}},
        {"blobs": [A]},
        {"blobs": None},
    ],
)
def test_refuses(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        Inventory.parse(document(**changes))


# --- of a store ---------------------------------------------------------------------------------


def test_lists_names_and_every_blob_they_need(filled: LayoutStore) -> None:
    filled.put_bytes("x", b"garbage that no name needs")
    taken = take_inventory(filled)
    assert taken.problems == ()
    (ref,) = taken.inventory.refs
    assert (ref.ref, ref.digest) == ("own:v1", filled.tags()["own:v1"].digest)
    sizes = {d: filled.blob_path(d).stat().st_size for d in filled.blob_digests()}
    garbage = Digest.of(b"garbage that no name needs")
    assert taken.inventory.blobs == {d: s for d, s in sizes.items() if d != garbage}
    assert ref.size_bytes < sum(taken.inventory.blobs.values())


def test_leaves_out_what_is_damaged_or_absent(filled: LayoutStore) -> None:
    wrong = [blob_file(filled, name) for name in ("model.pth", "dvae.pth")]
    damage(wrong[0])
    wrong[1].unlink()
    taken = take_inventory(filled)
    assert len(taken.problems) == 2
    assert not {Digest.from_hex(path.name) for path in wrong} & taken.inventory.blobs.keys()
    assert len(taken.inventory.blobs) == len(list(filled.blob_digests())) - 1


def test_a_damaged_manifest_hides_its_own_set_only(filled: LayoutStore, tmp_path: Path) -> None:
    filled_store(filled.root, make_small_set(tmp_path / "other", seed=5), ref="mine:v1")
    damage(filled.blob_path(filled.tags()["own:v1"].digest))
    taken = take_inventory(filled)
    assert [ref.ref for ref in taken.inventory.refs] == ["mine:v1"]
    assert len(taken.problems) == 1


def test_an_empty_store_and_foreign_names(store: LayoutStore) -> None:
    assert take_inventory(store).inventory.blobs == {}
    blob = blob_of(b"x")
    store.put_bytes(blob.media_type, b"x")
    store.tag("NOT-OURS", blob)
    taken = take_inventory(store).inventory
    assert (taken.refs, taken.blobs) == ((), {blob.digest: 1})


# --- the file and its signature -----------------------------------------------------------------


def test_unsigned(filled: LayoutStore, tmp_path: Path) -> None:
    inventory = take_inventory(filled).inventory
    path = tmp_path / "new" / "inventory.json"
    write_inventory(inventory, path)
    assert read_inventory(path, Trust()) == (inventory, UNSIGNED)
    with pytest.raises(SignatureMissing):
        read_inventory(path, Trust(allowed_signers=tmp_path / "any"))
    with pytest.raises(InvalidInputError, match="no such file"):
        read_inventory(tmp_path / "absent", Trust())


@needs_ssh
def test_signed(filled: LayoutStore, tmp_path: Path) -> None:
    inventory = take_inventory(filled).inventory
    path, key = tmp_path / "inventory.json", make_key(tmp_path, "key")
    trust = Trust(allowed_signers=allow(tmp_path / "allowed", site=key))
    write_inventory(inventory, path, key=SigningKey(key))
    read, origin = read_inventory(path, trust)
    assert read == inventory
    assert "site@lab" in str(origin)
    by_hand = ["-Y", "verify", "-f", tmp_path / "allowed", "-I", "site@lab",
               "-n", INVENTORY_NAMESPACE, "-s", signature_path(path)]  # fmt: skip
    assert b"Good" in ssh_keygen(*by_hand, data=path.read_bytes())
    damage(path, offset=30)
    for policy in (trust, Trust()):
        with pytest.raises(SignatureInvalid, match="other bytes"):
            read_inventory(path, policy)
    # An unsigned one over it takes the old signature away.
    write_inventory(inventory, path)
    assert not signature_path(path).exists()


@needs_ssh
def test_a_key_that_fails_changes_nothing(filled: LayoutStore, tmp_path: Path) -> None:
    key = make_key(tmp_path, "key", passphrase="secret")
    path = tmp_path / "out" / "inventory.json"
    inventory = take_inventory(filled).inventory
    with pytest.raises(SigningFailed):
        write_inventory(inventory, path, key=SigningKey(key))
    assert not path.parent.exists()
