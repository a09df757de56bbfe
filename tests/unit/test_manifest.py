from __future__ import annotations

from typing import Any

import pytest
from support import blob_of

from xttsreg.content.canonical import dump_canonical
from xttsreg.content.descriptor import FILE_PATH, REF_NAME, TITLE, Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import Index, Manifest
from xttsreg.errors import InvalidManifest, UnsafePath

CONFIG, LAYER = blob_of(b"{}"), blob_of(b"layer")


def value(**changes: Any) -> dict[str, Any]:
    """The JSON of a small manifest, changed."""
    base = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": CONFIG.to_json(),
        "layers": [LAYER.to_json()],
    }
    return {**base, **changes}


def named(path: str, data: bytes = b"layer") -> Descriptor:
    return blob_of(data).model_copy(update={"annotations": {FILE_PATH: path}})


def test_foreign_fields_survive_byte_for_byte() -> None:
    data = dump_canonical(
        value(
            artifactType="x/y",
            foreign={"deep": [1, {"a": "b"}]},
            layers=[{**LAYER.to_json(), "urls": ["http://h/"], "platform": {"os": "linux"}}],
            annotations={"k": "v"},
            subject=CONFIG.to_json(),
        )
    )
    assert Manifest.parse(data).to_bytes() == data


def test_describe_is_digest_and_size_of_the_bytes() -> None:
    manifest = Manifest(artifact_type="a/b", config=CONFIG, layers=(LAYER,))
    described = manifest.describe()
    assert described.digest == Digest.of(manifest.to_bytes())
    assert described.size_bytes == len(manifest.to_bytes())
    assert described.artifact_type == "a/b"


@pytest.mark.parametrize(
    "changes",
    [
        {"schemaVersion": 1},
        {"mediaType": "application/vnd.oci.image.index.v1+json"},
        {"config": None},
        {"layers": None},
        {"layers": [{**LAYER.to_json(), "size": -1}]},
        {"layers": [{**LAYER.to_json(), "size": "5"}]},
        {"layers": [{**LAYER.to_json(), "size": True}]},
        {"layers": [{**LAYER.to_json(), "size": 2**63}]},
        {"layers": [{**LAYER.to_json(), "digest": "sha256:../../etc/passwd"}]},
        {"layers": [{**LAYER.to_json(), "digest": "md5:" + "0" * 64}]},
        {"layers": [{**LAYER.to_json(), "mediaType": ""}]},
        {"annotations": {"a": 1}},
    ],
)
def test_refuses(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidManifest, match="thing: "):
        Manifest.parse(dump_canonical(value(**changes)), "thing")


def test_files_by_either_annotation() -> None:
    titled = blob_of(b"t").model_copy(update={"annotations": {TITLE: "t.txt"}})
    manifest = Manifest(config=CONFIG, layers=(named("a.pth"), titled, blob_of(b"no name")))
    assert list(manifest.files()) == ["a.pth", "t.txt"]


@pytest.mark.parametrize("paths", [["../x"], ["/x"], ["a", "A"], ["a\\b"], ["x", "x"]])
def test_unsafe_names_are_found_before_any_file_is_touched(paths: list[str]) -> None:
    layers = tuple(named(path, path.encode()) for path in paths)
    with pytest.raises(UnsafePath):
        Manifest(config=CONFIG, layers=layers).files()


def test_equal_layers_count_once() -> None:
    manifest = Manifest(config=CONFIG, layers=(named("a"), named("b"), named("c", b"other")))
    assert manifest.size_bytes == len(b"layer") + len(b"other")
    assert len(manifest.blobs()) == 3


# --- index -------------------------------------------------------------------------------------


def test_a_tag_moves_and_the_other_stays() -> None:
    index = Index().with_tag("a:1", CONFIG).with_tag("b:1", CONFIG).with_tag("a:1", LAYER)
    assert {tag: entry.digest for tag, entry in index.tags().items()} == {
        "a:1": LAYER.digest,
        "b:1": CONFIG.digest,
    }
    assert index.without_tag("a:1").find("a:1") is None


def test_a_held_manifest_gets_one_entry_only() -> None:
    index = Index().with_untagged(CONFIG).with_untagged(CONFIG)
    assert len(index.manifests) == 1
    tagged = index.with_tag("a:1", CONFIG)
    assert [entry.annotations for entry in tagged.manifests] == [{REF_NAME: "a:1"}]
    assert tagged.with_untagged(CONFIG) == tagged
    assert tagged.without_digest(CONFIG.digest).manifests == ()


def test_bytes_do_not_depend_on_the_order_of_changes() -> None:
    one = Index().with_tag("a:1", CONFIG).with_tag("b:1", LAYER)
    two = Index().with_tag("b:1", LAYER).with_tag("a:1", CONFIG)
    assert one.to_bytes() == two.to_bytes()
    assert Index.parse(one.to_bytes()).tags() == one.tags()


def test_an_index_without_a_media_type_is_legal() -> None:
    data = dump_canonical({"schemaVersion": 2, "manifests": []})
    assert Index.parse(data).manifests == ()
