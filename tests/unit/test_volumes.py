"""Bundles over several sticks, and blobs in parts: planned, written, taken in in any order."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import blob_file, damage, filled_store, leftovers, make_small_set, tree

from xttsreg.content.bundle import PARTS, Bundle
from xttsreg.content.digest import Digest
from xttsreg.errors import BundleMismatch, DigestMismatch, IntegrityError, InvalidInputError
from xttsreg.ops.bundle import Bundled, Media, bundle
from xttsreg.ops.gc import gc
from xttsreg.ops.importing import Imported, import_bundle, import_volumes
from xttsreg.ops.spread import Limits, Room, spread
from xttsreg.ops.verify import verify
from xttsreg.stores.layout import LayoutStore

TWO = Media(volume_bytes=250_000)


def bundled(store: LayoutStore, directory: Path, media: Media = TWO) -> Bundled:
    return bundle(store, store.tags(), directory, media=media)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory, shared_weights: Path) -> LayoutStore:
    return filled_store(tmp_path_factory.mktemp("origin") / "store", shared_weights)


@pytest.fixture(scope="module")
def made(origin: LayoutStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two volumes; model.pth lies on both. Only to be read."""
    directory = tmp_path_factory.mktemp("made")
    done = bundled(origin, directory)
    (split,) = done.bundle.parts
    assert split.digest.hex == blob_file(origin, "model.pth").name
    files = {file.path: file for file in done.bundle.files}
    assert [files[path].volume for path in split.paths] == [1, 2]
    return directory


@pytest.fixture
def sticks(made: Path, tmp_path: Path) -> tuple[Path, Path]:
    shutil.copytree(made, tmp_path / "sticks")
    return tmp_path / "sticks" / "volume-1", tmp_path / "sticks" / "volume-2"


def same_store(one: LayoutStore, two: LayoutStore) -> bool:
    """Blobs and index, byte for byte."""
    return tree(one.root) == tree(two.root)


# --- what goes where ----------------------------------------------------------------------------

SIZES = st.lists(st.integers(0, 200_000), max_size=12)


@given(
    sizes=SIZES,
    volume_bytes=st.none() | st.integers(9_000, 300_000),
    file_bytes=st.none() | st.integers(1, 150_000),
    taken_bytes=st.integers(0, 4_000),
)
def test_everything_is_somewhere_once_and_fits(
    sizes: list[int], volume_bytes: int | None, file_bytes: int | None, taken_bytes: int
) -> None:
    blobs = [(Digest.of(str(number).encode()), size) for number, size in enumerate(sizes)]
    limits = Limits(file_bytes=file_bytes, volume_bytes=volume_bytes)
    room = Room(limits, taken_bytes)
    try:
        pieces = spread(blobs, room)
    except InvalidInputError:  # parts of one byte, of which each takes a block
        assert (file_bytes or 10**6) < 100
        return
    for digest, size_bytes in blobs:
        own = [piece for piece in pieces if piece.digest == digest]
        assert sum(piece.size_bytes for piece in own) == size_bytes
        assert [piece.volume for piece in own] == sorted(piece.volume for piece in own)
        if not file_bytes and (room.volume_bytes is None or len(blobs) == 1):
            needs = size_bytes > (room.volume_bytes or size_bytes)
            assert len(own) > 1 if needs else len(own) == 1, "split without need"
    used: dict[int, int] = {}
    for piece in pieces:
        assert not file_bytes or piece.size_bytes <= file_bytes
        used[piece.volume] = used.get(piece.volume, 0) + limits.occupied(piece.size_bytes)
    assert all(room.volume_bytes is None or n <= room.volume_bytes for n in used.values())
    assert sorted(used) == list(range(1, len(used) + 1))


def test_whole_where_that_takes_no_more_volumes() -> None:
    blobs = [(Digest.of(bytes([n])), size) for n, size in enumerate([50, 60, 40, 30])]
    room = Room(Limits(volume_bytes=100, block_bytes=1), 0)
    assert sorted(spread(blobs, room), key=lambda piece: -piece.size_bytes)[0].size_bytes == 60
    assert [p.volume for p in spread(blobs, room)] == [1, 2, 1, 2]


@pytest.mark.parametrize(
    "media", [Media(volume_bytes=20_000), Media(file_bytes=100), Media(volume=2)]
)
def test_limits_that_are_too_narrow(origin: LayoutStore, tmp_path: Path, media: Media) -> None:
    with pytest.raises(InvalidInputError) as caught:
        bundled(origin, tmp_path / "stick", media)
    assert caught.value.hint
    assert not (tmp_path / "stick").exists()


# --- writing ------------------------------------------------------------------------------------


def test_each_volume_is_listed_by_itself_and_holds_what_it_may(
    made: Path, origin: LayoutStore
) -> None:
    lists = {path.read_bytes() for path in made.glob("*/bundle.json")}
    assert len(lists) == 1, "one listing, the same on each"
    for number in (1, 2):
        volume = made / f"volume-{number}"
        assert sum(p.stat().st_size for p in volume.rglob("*") if p.is_file()) <= 250_000
        sums = (volume / "SHA256SUMS").read_text().splitlines()
        found = {line[66:]: line[:64] for line in sums}
        assert found == {k: v for k, v in tree(volume).items() if k != "SHA256SUMS"}
        assert {origin.tags()["own:v1"].digest.hex} < {Path(path).name for path in found}


def test_volumes_one_by_one_are_those_of_one_run(
    made: Path, origin: LayoutStore, tmp_path: Path
) -> None:
    for number in (2, 1):
        media = Media(volume_bytes=250_000, volume=number)
        done = bundled(origin, tmp_path / f"stick-{number}", media)
        assert tree(done.directory) == tree(made / f"volume-{number}")
    with pytest.raises(InvalidInputError, match="no volume 3"):
        bundled(origin, tmp_path / "stick-3", Media(volume_bytes=250_000, volume=3))


def test_a_second_run_writes_nothing_and_a_damaged_part_alone_is_written_again(
    sticks: tuple[Path, Path], origin: LayoutStore
) -> None:
    before = tree(sticks[0].parent)
    assert bundled(origin, sticks[0].parent).files == 0
    damage(next((sticks[1] / "parts" / "sha256").iterdir()), 5)
    done = bundled(origin, sticks[0].parent)
    assert [volume.files for volume in done.volumes] == [0, 1]
    assert tree(sticks[0].parent) == before


def test_fewer_volumes_than_before(sticks: tuple[Path, Path], origin: LayoutStore) -> None:
    done = bundled(origin, sticks[0].parent, Media(volume_bytes=10**6))
    assert [path.name for path in sticks[0].parent.iterdir()] == ["volume-1"]
    assert (done.bundle.volumes, done.bundle.parts) == (1, ())
    assert not (sticks[0] / "parts").exists()


def test_other_things_beside_the_volumes_stay(origin: LayoutStore, tmp_path: Path) -> None:
    for name in ("thesis", "volume-7"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("dear to me")
    with pytest.raises(InvalidInputError, match="other things"):
        bundled(origin, tmp_path)
    shutil.rmtree(tmp_path / "volume-7")
    bundled(origin, tmp_path)
    assert (tmp_path / "thesis" / "thesis.txt").exists()


def test_only_the_last_or_the_same_bundle_keeps_its_number(
    origin: LayoutStore, tmp_path: Path
) -> None:
    """An old number on a new stick would be refused on the other side."""
    store = LayoutStore.create(tmp_path / "store")
    shutil.copytree(origin.root, store.root, dirs_exist_ok=True)
    first = bundled(store, tmp_path / "a", Media()).bundle
    filled_store(store.root, make_small_set(tmp_path / "o", seed=3), ref="mine:v1")
    second = bundled(store, tmp_path / "b", Media()).bundle
    assert second.sequence > first.sequence
    assert second.previous == first.bundle_id
    tags = {"own:v1": store.tags()["own:v1"]}
    assert bundle(store, tags, tmp_path / "a").bundle == first
    third = bundle(store, tags, tmp_path / "c").bundle
    assert third.sequence > second.sequence


def test_a_number_on_the_stick_is_not_taken_over(origin: LayoutStore, tmp_path: Path) -> None:
    first = bundled(origin, tmp_path / "stick", Media())
    value = json.loads((tmp_path / "stick" / "bundle.json").read_text())
    (tmp_path / "stick" / "bundle.json").write_text(json.dumps(value | {"sequence": 2**50}))
    again = bundled(origin, tmp_path / "stick", Media())
    assert again.bundle == first.bundle


# --- parts on one stick -------------------------------------------------------------------------


def test_parts_are_joined_in_one_pass(origin: LayoutStore, tmp_path: Path) -> None:
    done = bundled(origin, tmp_path / "stick", Media(file_bytes=30_000))
    assert max(p.stat().st_size for p in (tmp_path / "stick" / "parts").rglob("*.0*")) == 30_000
    assert sorted(len(split.paths) for split in done.bundle.parts) == [2, 7]
    store = LayoutStore.create(tmp_path / "second")
    import_bundle(tmp_path / "stick", store)
    assert same_store(store, origin)
    assert leftovers(store) == []


def test_one_part_is_wrong(origin: LayoutStore, tmp_path: Path) -> None:
    bundled(origin, tmp_path / "stick", Media(file_bytes=30_000))
    part = sorted((tmp_path / "stick" / "parts" / "sha256").iterdir())[-3]
    damage(part, 77)
    store = LayoutStore.create(tmp_path / "second")
    before = tree(store.root)
    with pytest.raises(IntegrityError) as caught:
        import_bundle(tmp_path / "stick", store)
    assert part.name in f"{caught.value.message} {caught.value.hint}"
    assert tree(store.root) == before
    assert leftovers(store) == []


# --- taking in ----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(itertools.permutations([0, 1])))
@pytest.mark.parametrize("calls", [1, 2])
def test_in_any_order(
    sticks: tuple[Path, Path], origin: LayoutStore, tmp_path: Path, order: list[int], calls: int
) -> None:
    store = LayoutStore.create(tmp_path / "second")
    places = [sticks[n] for n in order]
    if calls == 2:
        first = import_bundle(places[0], store)
        assert (list(first.missing), dict(store.tags())) == ([order[1] + 1], {})
        places = places[1:]
    done = import_volumes(places, store)
    assert list(done.missing) == []
    assert same_store(store, origin)
    modes = {path.stat().st_mode & 0o777 for path in (store.root / "blobs" / "sha256").iterdir()}
    assert len(modes) == 1, "others may read a joined file as they may any other"
    assert verify(store, store.entries(), use_cache=False).problems == []
    assert [*leftovers(store), *(store.state / "arriving").rglob("*")] == []


def test_one_repeated_tells_again_what_is_missing(
    sticks: tuple[Path, Path], origin: LayoutStore, tmp_path: Path
) -> None:
    store = LayoutStore.create(tmp_path / "second")
    first = import_bundle(sticks[1], store)
    again = import_bundle(sticks[1], store)
    assert (list(again.missing), again.copied.blobs, first.copied.blobs > 0) == ([1], 0, True)
    assert list(import_bundle(sticks[0], store).missing) == []
    assert list(import_bundle(sticks[0], store).missing) == [], "all of it is there"
    assert same_store(store, origin)


def test_gc_keeps_what_has_arrived_until_it_is_told(
    sticks: tuple[Path, Path], origin: LayoutStore, tmp_path: Path
) -> None:
    store = LayoutStore.create(tmp_path / "second")
    import_bundle(sticks[0], store)
    before = tree(store.root, state=True)
    assert (gc(store, dry_run=False).size_bytes, tree(store.root, state=True)) == (0, before)
    forgotten = gc(store, dry_run=False, arrivals=True)
    assert forgotten.size_bytes > 100_000
    assert list(store.blob_digests()) == []
    assert list((store.state / "arriving").iterdir()) == []
    assert list(import_bundle(sticks[1], store).missing) == [1]
    import_bundle(sticks[0], store)
    assert same_store(store, origin)


@pytest.mark.parametrize("where", ["blobs", "parts"])
def test_a_damaged_volume_is_not_taken_and_the_others_stay(
    sticks: tuple[Path, Path], origin: LayoutStore, tmp_path: Path, where: str
) -> None:
    store = LayoutStore.create(tmp_path / "second")
    import_bundle(sticks[0], store)
    before = tree(store.root)
    victim = max((sticks[1] / where / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    kept = victim.read_bytes()
    damage(victim, 100)
    with pytest.raises(IntegrityError) as caught:
        import_bundle(sticks[1], store)
    assert victim.name in f"{caught.value.message} {caught.value.hint}"
    assert (tree(store.root), leftovers(store)) == (before, [])
    victim.unlink()
    victim.write_bytes(kept)
    import_bundle(sticks[1], store)
    assert same_store(store, origin)


def test_what_was_lost_in_between_is_missing_again(
    sticks: tuple[Path, Path], origin: LayoutStore, tmp_path: Path
) -> None:
    """What has arrived is asked of the store, so nothing is believed that is not there."""
    store = LayoutStore.create(tmp_path / "second")
    import_bundle(sticks[0], store)
    lost = next(p for p in (sticks[0] / "blobs" / "sha256").iterdir()
                if not (sticks[1] / "blobs" / "sha256" / p.name).exists())  # fmt: skip
    (store.root / "blobs" / "sha256" / lost.name).unlink()
    assert list(import_bundle(sticks[1], store).missing) == [1]
    import_bundle(sticks[0], store)
    assert same_store(store, origin)


def test_a_joined_file_that_rots_is_dropped(
    sticks: tuple[Path, Path], origin: LayoutStore, tmp_path: Path
) -> None:
    store = LayoutStore.create(tmp_path / "second")
    import_bundle(sticks[0], store)
    (joined,) = (store.state / "arriving").glob("*/joined/*")
    damage(joined, 1)
    with pytest.raises(DigestMismatch):
        import_bundle(sticks[1], store)
    assert dict(store.tags()) == {}
    assert [list(import_bundle(stick, store).missing) for stick in sticks] == [[2], []]
    assert same_store(store, origin)


# --- volumes of two bundles ---------------------------------------------------------------------


@pytest.fixture
def others(tmp_path: Path) -> tuple[Path, Path]:
    """The sticks of another bundle, with a model of the same size."""
    store = filled_store(tmp_path / "o", make_small_set(tmp_path / "ow", seed=7), ref="mine:v1")
    bundled(store, tmp_path / "others")
    return tmp_path / "others" / "volume-1", tmp_path / "others" / "volume-2"


def test_volumes_of_two_bundles_do_not_mix(
    sticks: tuple[Path, Path], others: tuple[Path, Path], origin: LayoutStore, tmp_path: Path
) -> None:
    store = LayoutStore.create(tmp_path / "second")
    before = tree(store.root)
    with pytest.raises(BundleMismatch, match="another bundle"):
        import_volumes([sticks[0], others[1]], store)
    assert tree(store.root) == before
    arrived: list[Imported] = [import_bundle(place, store) for place in (sticks[0], others[1])]
    assert [list(one.missing) for one in arrived] == [[2], [1]]
    assert dict(store.tags()) == {}
    assert list(import_bundle(sticks[1], store).missing) == []
    assert list(store.tags()) == ["own:v1"]
    assert list(import_bundle(others[0], store).missing) == []
    assert list(store.tags()) == ["mine:v1", "own:v1"]
    assert verify(store, store.entries(), use_cache=False).problems == []


def test_a_part_of_another_bundle_on_the_stick(
    sticks: tuple[Path, Path], others: tuple[Path, Path], tmp_path: Path
) -> None:
    part = next((sticks[1] / "parts" / "sha256").iterdir())
    other = next((others[1] / "parts" / "sha256").iterdir())
    part.unlink()
    part.write_bytes(other.read_bytes())
    store = LayoutStore.create(tmp_path / "second")
    before = tree(store.root)
    with pytest.raises(IntegrityError) as caught:
        import_bundle(sticks[1], store)
    assert part.name in f"{caught.value.message} {caught.value.hint}"
    assert tree(store.root) == before


def test_a_listing_of_another_bundle_on_the_stick(
    sticks: tuple[Path, Path], others: tuple[Path, Path], tmp_path: Path
) -> None:
    shutil.copy(others[0] / "bundle.json", sticks[0] / "bundle.json")
    store = LayoutStore.create(tmp_path / "second")
    with pytest.raises(BundleMismatch, match=r"bundle\.json"):
        import_bundle(sticks[0], store)


def test_two_bundles_of_one_id(
    sticks: tuple[Path, Path], origin: LayoutStore, tmp_path: Path
) -> None:
    store = LayoutStore.create(tmp_path / "second")
    import_bundle(sticks[0], store)
    listing = sticks[1] / "bundle.json"
    before = listing.read_bytes()
    value = json.loads(before)
    listing.write_text(json.dumps(value | {"created": "2020-01-01T00:00:00Z"}))
    assert Bundle.parse(listing.read_bytes()).bundle_id == value["bundle_id"]
    sums = (sticks[1] / "SHA256SUMS").read_text()
    old, new = Digest.of(before).hex, Digest.of(listing.read_bytes()).hex
    (sticks[1] / "SHA256SUMS").write_text(sums.replace(old, new))
    with pytest.raises(BundleMismatch, match="two different bundles"):
        import_bundle(sticks[1], store)


def test_parts_lie_beside_the_blobs_where_no_tool_looks() -> None:
    assert not PARTS.startswith("blobs/")
