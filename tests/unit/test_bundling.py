"""Store to stick and back, in one process. The command line's side is in integration/."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support import (
    blob_file,
    blob_of,
    damage,
    filled_store,
    leftovers,
    make_small_set,
    tree,
)

from xttsreg.content.digest import Digest
from xttsreg.content.reference import Reference
from xttsreg.errors import BundleMismatch, IntegrityError, InvalidInputError, XttsregError
from xttsreg.ops.bundle import Bundled, bundle
from xttsreg.ops.importing import Imported, import_bundle
from xttsreg.ops.licensing import accepted_now, find_acceptance, record
from xttsreg.ops.verify import verify
from xttsreg.stores.base import read_manifest, resolve
from xttsreg.stores.layout import LayoutStore


def bundled(store: LayoutStore, directory: Path, *refs: str) -> Bundled:
    tags = {ref: store.tags()[ref] for ref in refs or store.tags()}
    return bundle(store, tags, directory)


def imported(directory: Path, root: Path) -> Imported:
    return import_bundle(directory, LayoutStore.create(root))


@pytest.fixture
def stick(filled: LayoutStore, tmp_path: Path) -> Path:
    entry = resolve(filled, Reference.parse("own:v1"))
    record(filled, entry, read_manifest(filled, entry), accepted_now("test"))
    return bundled(filled, tmp_path / "stick").directory


# --- what a bundle is ---------------------------------------------------------------------------


def test_plain_sha256sum_checks_all_of_it(stick: Path) -> None:
    if not shutil.which("sha256sum"):
        pytest.skip("no sha256sum here")
    done = subprocess.run(
        ["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=stick, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stdout.count(": OK") == len(tree(stick)) - 1


def test_nothing_of_ours_is_left_on_it(stick: Path) -> None:
    assert {path.name for path in stick.iterdir()} == {
        "README.txt", "SHA256SUMS", "blobs", "bundle.json", "index.json", "install.py", "licenses",
        "oci-layout", "sbom.cdx.json",
    }  # fmt: skip


def test_the_terms_are_there_as_a_file(stick: Path, weights: Path) -> None:
    (terms,) = (stick / "licenses").iterdir()
    assert terms.read_bytes() == (weights / "LICENSE.txt").read_bytes()


def test_the_readme_names_what_it_brings_and_what_to_do(stick: Path, filled: LayoutStore) -> None:
    text = (stick / "README.txt").read_text()
    for part in ("own:v1", filled.tags()["own:v1"].digest, "sha256sum -c", "xttsreg import"):
        assert part in text


def test_the_round_trip_brings_everything(stick: Path, filled: LayoutStore, tmp_path: Path) -> None:
    imported(stick, tmp_path / "second")
    second = LayoutStore.open_existing(tmp_path / "second")
    assert dict(second.tags()) == dict(filled.tags())
    assert verify(second, second.entries(), use_cache=False).problems == []
    entry = second.tags()["own:v1"]
    assert find_acceptance(second, entry, read_manifest(second, entry))
    assert sorted(second.blob_digests()) == sorted(filled.blob_digests())


def test_a_second_import_copies_nothing(stick: Path, tmp_path: Path) -> None:
    first, second = (imported(stick, tmp_path / "second") for _ in range(2))
    assert first.copied.blobs > 0
    assert (second.copied.blobs, second.copied.size_bytes) == (0, 0)
    assert second.copied.skipped_bytes == first.copied.size_bytes


def test_an_import_adds_and_removes_nothing(stick: Path, tmp_path: Path) -> None:
    other = filled_store(tmp_path / "second", make_small_set(tmp_path / "o", seed=3), ref="mine:v1")
    imported(stick, other.root)
    assert list(other.tags()) == ["mine:v1", "own:v1"]
    assert verify(other, other.entries(), use_cache=False).problems == []


def test_import_heals_a_damaged_blob(stick: Path, filled: LayoutStore, tmp_path: Path) -> None:
    imported(stick, tmp_path / "second")
    second = LayoutStore.open_existing(tmp_path / "second")
    path = blob_file(second, "dvae.pth")
    path.unlink()  # the file may be a link to the stick's
    path.write_bytes(b"rot")
    imported(stick, second.root)
    assert verify(second, second.entries(), use_cache=False).problems == []


def test_the_store_survives_the_loss_of_the_stick(stick: Path, tmp_path: Path) -> None:
    imported(stick, tmp_path / "second")
    shutil.rmtree(stick)
    second = LayoutStore.open_existing(tmp_path / "second")
    assert verify(second, second.entries(), use_cache=False).problems == []


def test_two_names_that_look_alike_as_files_both_get_their_terms(
    filled: LayoutStore, tmp_path: Path
) -> None:
    other = make_small_set(tmp_path / "other", seed=4)
    for ref in ("team/x:v1", "team-x:v1", "team-x:V1"):
        filled_store(filled.root, other, ref=ref)
    done = bundled(filled, tmp_path / "stick")
    assert len(list((tmp_path / "stick" / "licenses").iterdir())) == len(done.bundle.refs) == 4
    imported(tmp_path / "stick", tmp_path / "second")


# --- bringing a bundle up to date ---------------------------------------------------------------


def test_the_same_bundle_again_writes_nothing_and_keeps_its_name(
    stick: Path, filled: LayoutStore
) -> None:
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in stick.rglob("*")}
    again = bundled(filled, stick)
    assert again.files == 0
    after = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in stick.rglob("*")}
    assert before == after


def test_what_is_damaged_or_gone_is_written_again_and_the_rest_is_not(
    stick: Path, filled: LayoutStore, tmp_path: Path
) -> None:
    damage(stick / "blobs" / "sha256" / blob_file(filled, "dvae.pth").name)
    (stick / "blobs" / "sha256" / blob_file(filled, "vocab.json").name).unlink()
    (stick / "SHA256SUMS").unlink()
    assert bundled(filled, stick).files == 2
    imported(stick, tmp_path / "second")


def test_what_belongs_to_it_no_longer_is_removed(
    stick: Path, filled: LayoutStore, tmp_path: Path
) -> None:
    filled_store(filled.root, make_small_set(tmp_path / "o", seed=3), ref="mine:v1")
    bundled(filled, stick, "mine:v1")
    second = imported(stick, tmp_path / "second")
    assert [ref.ref for ref in second.bundle.refs] == ["mine:v1"]
    assert not (stick / "blobs" / "sha256" / blob_file(filled, "model.pth").name).exists()
    assert len(list((stick / "licenses").iterdir())) == 1


@pytest.mark.parametrize("kept", [["blobs"], ["blobs", "oci-layout"], ["README.txt", "oci-layout"]])
def test_goes_on_wherever_it_was_interrupted(
    stick: Path, filled: LayoutStore, tmp_path: Path, kept: list[str]
) -> None:
    for path in stick.iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    bundled(filled, stick)
    imported(stick, tmp_path / "second")


@pytest.mark.parametrize("there", [False, True])
def test_an_interrupted_bundle_cannot_be_imported(
    stick: Path, filled: LayoutStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    directory = stick if there else tmp_path / "new"
    if there:
        damage(stick / "blobs" / "sha256" / blob_file(filled, "dvae.pth").name)
    with monkeypatch.context() as patch:
        patch.setattr("xttsreg.ops.writing._write_blob", stop)
        with pytest.raises(KeyboardInterrupt):
            bundled(filled, directory)
    with pytest.raises(InvalidInputError, match="SHA256SUMS"):
        imported(directory, tmp_path / "second")
    bundled(filled, directory)
    imported(directory, tmp_path / "second")


def test_a_store_is_not_taken_for_a_bundle(filled: LayoutStore, tmp_path: Path) -> None:
    """A bundle drops what it does not need from its directory; a store must not lose that."""
    other = filled_store(tmp_path / "o", make_small_set(tmp_path / "ow", seed=3), ref="mine:v1")
    for victim in (filled, other):
        before = tree(victim.root)
        with pytest.raises(InvalidInputError, match="store"):
            bundled(filled, victim.root, "own:v1")
        assert tree(victim.root) == before


@pytest.mark.parametrize("name", ["thesis.txt", "index.json", "SHA256SUMS"])
def test_a_directory_with_other_things_is_left_alone(
    filled: LayoutStore, tmp_path: Path, name: str
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("dear to me")
    with pytest.raises(InvalidInputError, match="holds other things"):
        bundled(filled, tmp_path / "mine")
    assert tree(tmp_path / "mine", state=True).keys() == {name}


def test_what_systems_leave_on_media_does_not_matter(filled: LayoutStore, tmp_path: Path) -> None:
    for name in ("System Volume Information", "lost+found", ".Trash-1000"):
        (tmp_path / "stick" / name).mkdir(parents=True)
        (tmp_path / "stick" / name / "x").write_text("litter")
    (tmp_path / "stick" / ".DS_Store").write_text("litter")
    bundled(filled, tmp_path / "stick")
    imported(tmp_path / "stick", tmp_path / "second")


def test_a_damaged_store_makes_no_bundle(filled: LayoutStore, tmp_path: Path) -> None:
    damage(blob_file(filled, "model.pth"), 3)
    with pytest.raises(IntegrityError) as caught:
        bundled(filled, tmp_path / "stick")
    assert "model.pth" in f"{caught.value.message} {caught.value.hint}"
    assert not (tmp_path / "stick" / "SHA256SUMS").exists()


# --- what an import refuses ---------------------------------------------------------------------


def resum(stick: Path) -> None:
    """Make SHA256SUMS right again, as somebody who tampers would."""
    files = sorted(tree(stick).items())
    lines = [f"{digest}  {path}\n" for path, digest in files if path != "SHA256SUMS"]
    (stick / "SHA256SUMS").write_text("".join(lines))


def relist(stick: Path, **changes: object) -> None:
    """Change bundle.json, and make SHA256SUMS right again."""
    value = json.loads((stick / "bundle.json").read_text())
    (stick / "bundle.json").write_text(json.dumps({**value, **changes}))
    resum(stick)


def refused(stick: Path, target: LayoutStore, error: type[XttsregError]) -> XttsregError:
    """The import fails, and the store is as it was."""
    before = tree(target.root)
    with pytest.raises(error) as caught:
        imported(stick, target.root)
    assert tree(target.root) == before
    assert leftovers(target) == []
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("name", ["model.pth", "LICENSE.txt", "config.json"])
@pytest.mark.parametrize("how", ["bit", "short", "long", "missing", "empty", "symlink", "fifo"])
def test_one_blob_is_wrong(
    stick: Path, filled: LayoutStore, store: LayoutStore, name: str, how: str
) -> None:
    path = stick / "blobs" / "sha256" / blob_file(filled, name).name
    data = path.read_bytes()
    if how == "bit":
        damage(path, len(data) // 2, 3)
    else:
        path.unlink()
    if how in ("short", "long", "empty"):
        path.write_bytes({"short": data[:-1], "long": data + b"\0", "empty": b""}[how])
    elif how == "symlink":
        path.symlink_to(blob_file(filled, name))
    elif how == "fifo":
        os.mkfifo(path)
    error = refused(stick, store, IntegrityError)
    assert path.name in error.message


@pytest.mark.parametrize("name", ["README.txt", "index.json", "oci-layout", "licenses/own-v1.txt"])
def test_one_other_file_is_wrong(stick: Path, store: LayoutStore, name: str) -> None:
    damage(stick / name, 3)
    assert name in refused(stick, store, BundleMismatch).message


@pytest.mark.parametrize("name", ["bundle.json", "SHA256SUMS"])
@pytest.mark.parametrize("bit", [0, 1, 2, 5, 7])
@pytest.mark.parametrize("offset", [0, 17, 40, 66, -1])
def test_the_lists_themselves_are_wrong(
    stick: Path, store: LayoutStore, name: str, bit: int, offset: int
) -> None:
    damage(stick / name, offset, bit)
    refused(stick, store, IntegrityError)


def test_sums_in_another_order_are_not_as_they_were_written(
    stick: Path, store: LayoutStore
) -> None:
    lines = (stick / "SHA256SUMS").read_text().splitlines(keepends=True)
    (stick / "SHA256SUMS").write_text("".join(lines[::-1]))
    assert "SHA256SUMS" in refused(stick, store, BundleMismatch).message


def test_a_manifest_is_wrong(stick: Path, filled: LayoutStore, store: LayoutStore) -> None:
    name = filled.tags()["own:v1"].digest.hex
    damage(stick / "blobs" / "sha256" / name, 30)
    assert name[:12] in refused(stick, store, IntegrityError).message


@pytest.mark.parametrize(
    "name", ["extra.txt", "blobs/sha256/" + "0" * 64, "blobs/extra", "new/extra", "licenses/x.txt"]
)
def test_a_file_too_many(stick: Path, store: LayoutStore, name: str) -> None:
    (stick / name).parent.mkdir(exist_ok=True)
    (stick / name).write_text("stowaway")
    assert name in refused(stick, store, BundleMismatch).message


@pytest.mark.parametrize("name", ["bundle.json", "SHA256SUMS"])
def test_without_its_lists_it_is_no_bundle(stick: Path, store: LayoutStore, name: str) -> None:
    (stick / name).unlink()
    assert name in refused(stick, store, InvalidInputError).message


def test_a_newer_format_is_refused_as_such(stick: Path, store: LayoutStore) -> None:
    relist(stick, format_version=3)
    error = refused(stick, store, InvalidInputError)
    assert "version 3" in error.message


def test_names_must_agree(stick: Path, store: LayoutStore) -> None:
    index = json.loads((stick / "index.json").read_text())
    entry = index["manifests"][-1]
    entry.setdefault("annotations", {})["org.opencontainers.image.ref.name"] = "evil:v1"
    (stick / "index.json").write_text(json.dumps(index))
    value = json.loads((stick / "bundle.json").read_text())
    data = (stick / "index.json").read_bytes()
    for file in value["files"]:
        if file["path"] == "index.json":
            file |= {"size_bytes": len(data), "digest": Digest.of(data)}
    relist(stick, files=value["files"])
    refused(stick, store, BundleMismatch)


def test_a_blob_that_nothing_needs_is_a_stowaway(stick: Path, store: LayoutStore) -> None:
    blob = blob_of(b"stowaway")
    path = f"blobs/sha256/{blob.digest.hex}"
    (stick / path).write_bytes(b"stowaway")
    value = json.loads((stick / "bundle.json").read_text())
    value["files"].append({"path": path, "size_bytes": 8, "digest": blob.digest, "volume": 0})
    relist(stick, files=value["files"])
    assert blob.digest.hex in refused(stick, store, BundleMismatch).message


def test_a_path_that_leaves_the_stick(stick: Path, store: LayoutStore, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("secret")
    value = json.loads((stick / "bundle.json").read_text())
    value["files"].append(
        {"path": "../outside", "size_bytes": 6, "digest": Digest.of(b"secret"), "volume": 0}
    )
    relist(stick, files=value["files"])
    refused(stick, store, IntegrityError)


@pytest.mark.parametrize("what", ["nothing", "empty", "file", "layout", "garbage"])
def test_what_is_no_bundle_makes_no_store(filled: LayoutStore, tmp_path: Path, what: str) -> None:
    place = tmp_path / what
    if what in ("empty", "garbage"):
        place.mkdir()
    if what == "garbage":
        (place / "bundle.json").write_text("{}")
    if what == "file":
        place.write_text("x")
    if what == "layout":
        place = filled.root
    with pytest.raises(InvalidInputError) as caught:
        import_bundle(place, LayoutStore.at(tmp_path / "second"))
    assert caught.value.hint
    assert not (tmp_path / "second").exists()
