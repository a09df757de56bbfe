from __future__ import annotations

from pathlib import Path

import pytest
from support import catalog_for, pinned

from xttsreg import places
from xttsreg.catalog import Catalog, WeightSet
from xttsreg.content.digest import Digest
from xttsreg.content.reference import Reference
from xttsreg.errors import InvalidCatalog, WeightSetNotFound

# coqui/XTTS-v2, branch main, commit 6c2b0d75: size_bytes and sha256 as published.
XTTS_V2 = {
    "model.pth": (1867929118, "c7ea20001c6a0a841c77e252d8409f6a74fb423e79b3206a0771ba5989776187"),
    "dvae.pth": (210514388, "b29bc227d410d4991e0a8c09b858f77415013eeb9fba9650258e96095557d97a"),
    "mel_stats.pth": (1067, "1f69422a8a8f344c4fca2f0c6b8d41d2151d6615b7321e48e6bb15ae949b119c"),
    "vocab.json": (361219, "928260878a59da8a72a2a5b7687fea29d5106137669d90945430fe17e415304a"),
    "config.json": (4368, "ef262b1454dd2a77e1461b0b2cd53e19b8a7624cc131b837d36df67356bc75e8"),
    "speakers_xtts.pth": (
        7754818,
        "f0f6137c19a4eab0cbbe4c99b5babacf68b1746e50da90807708c10e645b943b",
    ),
    "hash.md5": (32, "ef2e25fc4639bb81c6c5048740c1ee8268606a160548abaa2e2fe03b12278c54"),
    "LICENSE.txt": (4014, "190f6d7c19b8984f91b97712b94ce92d2b2e640fc677dacab966e955ece9d043"),
}
OLDER_MODELS = {
    "a9bf08409cdef1626e1da99d3c9891deb49f925173de622831a4e9b8c91fdeb5",
    "6817f33ceb69480a4a665a91b61461f0aca6dd1397c0ba46ebffbe13c6f5fe80",
    "98f7297340c09d9d33cb3e2580f8cfb02e8b496270e2cf678ffcfe38b535d218",
    "5a787956aa2d512786b4fd4d0c3c9cef6fef36995598f06f0570995a8df5c6be",
    "b2b9a06ebe4fbd4756dae4e22caaf0a6d73fdb8de97374363db040cffa3856d9",
}
OLDER_SPEAKERS = {"4f0697868c7253c2a0f890402e2bd0895d84349675db0bd1a7d69c90fd9ae658"}


@pytest.fixture(scope="module")
def builtin() -> Catalog:
    return Catalog.load(places.builtin("registry"))


@pytest.fixture(scope="module")
def xtts(builtin: Catalog) -> WeightSet:
    return builtin.get(Reference.parse("xtts_v2"))


# --- the built-in catalogue ---------------------------------------------------------------------


def test_xtts_v2_is_exactly_what_was_published(xtts: WeightSet) -> None:
    assert {f.path: (f.size_bytes, f.sha256) for f in xtts.files} == XTTS_V2
    assert xtts.revision == "6c2b0d75eae4b7047358e3b6bd9325f857d43f77"
    assert xtts.size_bytes == sum(size for size, _ in XTTS_V2.values())


def test_no_digest_is_in_it_that_nobody_has_verified(builtin: Catalog) -> None:
    known = {k.sha256 for item in builtin.sets().values() for k in item.known_files}
    assert known == OLDER_MODELS | OLDER_SPEAKERS
    assert list(builtin.sets()) == ["xtts_v2:main"]


def test_roles_are_what_trainer_and_inference_read(xtts: WeightSet) -> None:
    train = {f.path for f in xtts.files if "train" in f.roles}
    assert train == {"model.pth", "vocab.json", "dvae.pth", "mel_stats.pth"}
    assert {"model.pth", "config.json", "vocab.json"} <= {
        f.path for f in xtts.files if "infer" in f.roles
    }
    assert [f.path for f in xtts.files if "licence" in f.roles] == [xtts.license.path]


def test_its_terms_want_a_yes_and_fit_three_lines(xtts: WeightSet) -> None:
    assert xtts.license.acceptance_required
    assert 1 <= len(xtts.license.summary) <= 3
    assert "Non-commercial" in xtts.license.summary[0]


def test_sources_in_order(xtts: WeightSet) -> None:
    revision = xtts.revision
    assert xtts.urls("dvae.pth") == [
        f"https://huggingface.co/coqui/XTTS-v2/resolve/{revision}/dvae.pth",
        f"https://coqui.gateway.scarf.sh/hf-coqui/XTTS-v2/{revision}/dvae.pth",
    ]


def test_its_manifest_is_the_same_everywhere_and_for_ever(xtts: WeightSet) -> None:
    config, manifest = xtts.model()
    # Every bundle carries this digest: a change is a new format, to be made knowingly.
    assert manifest.describe().digest.short == "70a4ef4a22aa"
    assert manifest.config.digest == Digest.of(config)
    layers = {path: (d.size_bytes, d.digest.hex) for path, d in manifest.files().items()}
    assert layers == XTTS_V2


def test_files_are_recognised_by_digest(builtin: Catalog) -> None:
    current = Digest.from_hex(XTTS_V2["model.pth"][1])
    assert builtin.identify(current) == "model.pth of xtts_v2:main"
    older = Digest.from_hex("a9bf08409cdef1626e1da99d3c9891deb49f925173de622831a4e9b8c91fdeb5")
    assert "v2.0.1" in str(builtin.identify(older))
    assert builtin.identify(Digest.of(b"mine")) is None


# --- catalogues of one's own --------------------------------------------------------------------


@pytest.fixture
def directory(tmp_path: Path, shared_weights: Path) -> Path:
    return catalog_for(tmp_path / "catalog", shared_weights, "http://127.0.0.1:9")


def test_an_own_set_is_found(directory: Path) -> None:
    item = pinned(directory)
    assert item.reference == Reference("small", "main")
    assert item.file("dvae.pth") is not None
    assert item.file("nope") is None


def test_later_directories_win(tmp_path: Path, directory: Path, shared_weights: Path) -> None:
    other = catalog_for(tmp_path / "other", shared_weights, more='title = "mine"')
    assert Catalog.load(directory, other).get(Reference.parse("small")).title == "mine"
    assert Catalog.load(other, directory).get(Reference.parse("small")).title == ""


def test_a_name_that_is_unknown(directory: Path) -> None:
    with pytest.raises(WeightSetNotFound) as caught:
        Catalog.load(directory).get(Reference.parse("small:v9"))
    assert caught.value.exit_code == 3
    assert "small:main" in str(caught.value.hint)


def test_a_digest_that_is_asked_for_must_be_the_pinned_one(directory: Path) -> None:
    catalog, digest = Catalog.load(directory), pinned(directory).model()[1].describe().digest
    assert catalog.find(Reference("small", "main", digest)) is not None
    with pytest.raises(WeightSetNotFound):
        catalog.get(Reference("small", "main", Digest.of(b"other")))


def test_names_are_quoted_in_urls(tmp_path: Path) -> None:
    weights = tmp_path / "odd"
    weights.mkdir()
    for name in ("LICENSE.txt", "a#b 100%.json"):
        (weights / name).write_text("x")
    item = pinned(catalog_for(tmp_path / "catalog", weights, "http://h"))
    assert item.urls("a#b 100%.json")[0].endswith("/a%23b%20100%25.json")


def edit(directory: Path, old: str, new: str) -> Catalog:
    """Load the catalogue with one text replaced by another."""
    path = directory / "small.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return Catalog.load(directory)


BAD = {
    "no TOML": ('name = "small"', "name = small"),
    "no TOML at all": ('name = "small"', "\x00"),
    "unknown field": ('name = "small"', 'name = "small"\nnmae = "x"'),
    "unknown field of a file": ("[[files]]", '[[files]]\nurl = "http://h"'),
    "field missing": ('name = "small"', ""),
    "name in capitals": ('name = "small"', 'name = "Small"'),
    "digest too short": ('sha256 = "', 'sha256 = "0" #'),
    "digest too long": ('sha256 = "', 'sha256 = "00'),
    "digest in capitals": ('sha256 = "', 'sha256 = "' + "A" * 64 + '" #'),
    "digest with a prefix": ('sha256 = "', 'sha256 = "sha256:'),
    "revision is a branch": ('revision = "', 'revision = "main" #'),
    "size negative": ("size_bytes = ", "size_bytes = -"),
    "size is a text": ("size_bytes = 1067", 'size_bytes = "1067"'),
    "size missing": ("size_bytes = 1067", ""),
    "size zero": ("size_bytes = 1067", "size_bytes = 0"),
    "role unknown": ("roles = ['train']", "roles = ['trian']"),
    "no role": ("roles = ['train']", "roles = []"),
    "path leaves the set": ('path = "dvae.pth"', 'path = "../dvae.pth"'),
    "path absolute": ('path = "dvae.pth"', 'path = "/dvae.pth"'),
    "path twice": ('path = "dvae.pth"', 'path = "MODEL.pth"'),
    "licence file not in the set": ('path = "LICENSE.txt"', 'path = "TERMS.txt"'),
    "no source": ("sources = [", "sources = [] #"),
    "source without path": ("/{path}", "/file"),
    "source with another field": ("/{path}", "/{path}{name}"),
    "source with a brace": ("/{path}", "/{path}{"),
    "source of another kind": ("'http:", "'ftp:"),
    "source is a file": ("'http:", "'file:"),
    "summary too long": ('summary = ["Be kind."', 'summary = ["1", "2", "3"'),
}


@pytest.mark.parametrize("what", BAD)
def test_refuses(directory: Path, what: str) -> None:
    with pytest.raises(InvalidCatalog, match=r"small\.toml: ") as caught:
        edit(directory, *BAD[what])
    assert caught.value.exit_code == 2
    assert caught.value.hint
    assert "\n" not in caught.value.message or what.startswith("no TOML")


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidCatalog, match="no such"):
        Catalog.load(tmp_path / "none")
