"""Laws that hold for every value. `pytest --hypothesis-profile deep` looks harder."""

from __future__ import annotations

import contextlib
import io
import json
import string
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from support import blob_of

from xttsreg.content.bundle import format_sums, parse_sums
from xttsreg.content.canonical import dump_canonical, load_strict
from xttsreg.content.descriptor import FILE_PATH, Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import Index, Manifest
from xttsreg.content.paths import check_distinct_paths, check_relative_path
from xttsreg.content.reference import Reference
from xttsreg.content.stream import VerifyingReader, read_verified
from xttsreg.errors import IntegrityError, InvalidDigest, InvalidInputError, UnsafePath

digests = st.binary(min_size=32, max_size=32).map(lambda b: Digest.from_hex(b.hex()))
names = st.from_regex(r"[a-z0-9]{1,8}([._-][a-z0-9]{1,8}){0,2}(/[a-z0-9]{1,8})?", fullmatch=True)
tags = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=1).flatmap(
    lambda first: st.text(string.ascii_letters + string.digits + "._-", max_size=20).map(
        lambda rest: first + rest
    )
)
references = st.builds(Reference, names, tags, st.none() | digests)
text = st.text(st.characters(codec="utf-8"), max_size=20)
annotations = st.dictionaries(text, text, max_size=4)
descriptors = st.builds(
    Descriptor,
    media_type=st.text(string.ascii_lowercase + "/+.", min_size=1, max_size=30),
    digest=digests,
    size_bytes=st.integers(0, 2**63 - 1),
    annotations=annotations,
)
manifests = st.builds(
    Manifest,
    artifact_type=st.none() | text,
    config=descriptors,
    layers=st.lists(descriptors, max_size=4).map(tuple),
    subject=st.none() | descriptors,
    annotations=annotations,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=15,
)
json_objects = st.dictionaries(text, json_values, max_size=5)
safe_parts = st.text(string.ascii_lowercase + "_-", min_size=5, max_size=12)
safe_paths = st.lists(safe_parts, min_size=1, max_size=3).map("/".join)


# --- round trips --------------------------------------------------------------------------------


@given(references)
def test_reference(reference: Reference) -> None:
    assert Reference.parse(str(reference)) == reference


@given(st.text(max_size=40))
def test_whatever_parses_is_stable_and_anything_else_is_refused_as_such(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except InvalidInputError:
        return
    assert Reference.parse(str(reference)) == reference
    assert str(reference).startswith(text)


@given(digests)
def test_digest(digest: Digest) -> None:
    assert Digest(str(digest)) == digest == Digest.from_hex(digest.hex)


@given(st.text(max_size=80) | st.text("0123456789abcdefg:sha", min_size=64, max_size=72))
def test_a_digest_is_never_anything_that_could_be_a_path(text: str) -> None:
    try:
        digest = Digest(text)
    except InvalidDigest:
        return
    assert len(digest.hex) == 64
    assert set(digest.hex) <= set("0123456789abcdef")


@given(manifests)
def test_manifest(manifest: Manifest) -> None:
    data = manifest.to_bytes()
    assert Manifest.parse(data) == manifest
    assert Manifest.parse(data).to_bytes() == data
    assert manifest.describe().digest == Digest.of(data)


@given(json_objects)
def test_foreign_fields_of_a_manifest(extra: dict[str, Any]) -> None:
    value = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob_of(b"{}").to_json(),
        "layers": [],
    }
    data = dump_canonical({**value, "x-extra": _without_none(extra)})
    assert Manifest.parse(data).to_bytes() == data


def _without_none(value: Any) -> Any:
    """A null is an absent field in OCI documents; inside foreign fields we don't promise it."""
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_none(v) for v in value if v is not None]
    return value


@given(st.dictionaries(st.builds(lambda r: r.tagged, references), descriptors, max_size=5))
def test_index(entries: dict[str, Descriptor]) -> None:
    one, two = Index(), Index()
    for tagged in entries:
        one = one.with_tag(tagged, entries[tagged])
    for tagged in reversed(entries):
        two = two.with_tag(tagged, entries[tagged])
    assert one.to_bytes() == two.to_bytes()
    found = Index.parse(one.to_bytes()).tags()
    assert {tag: entry.digest for tag, entry in found.items()} == {
        tag: entry.digest for tag, entry in entries.items()
    }
    for tagged in entries:
        one = one.without_tag(tagged)
    assert one.manifests == ()


@given(st.dictionaries(safe_paths, digests, max_size=6))
def test_sums(sums: dict[str, Digest]) -> None:
    assert parse_sums(format_sums(sums)) == sums


@given(json_objects)
def test_canonical_json(value: dict[str, Any]) -> None:
    data = dump_canonical(value)
    assert load_strict(data, what="x") == value
    shuffled = dict(reversed(list(value.items())))
    assert dump_canonical(shuffled) == data
    assert load_strict(json.dumps(value, indent=3).encode(), what="x") == value


@given(st.binary(max_size=60))
def test_json_from_strangers_is_an_object_or_an_error(data: bytes) -> None:
    with contextlib.suppress(InvalidInputError):
        assert isinstance(load_strict(data, what="x"), dict)


# --- paths --------------------------------------------------------------------------------------


@given(st.text(max_size=30) | st.text("./\\:ab \0", max_size=12))
@example("a/..")
@example("..")
@example("a\n")
def test_an_accepted_path_stays_inside_and_is_portable(path: str) -> None:
    try:
        assert check_relative_path(path) == path
    except UnsafePath:
        return
    parts = path.split("/")
    assert all(part not in ("", ".", "..") for part in parts)
    assert not set(path) & set('\\:*?"<>|\0\n\r\t')
    assert all(part == part.rstrip(". ") for part in parts)
    assert path.encode("utf-8")


@given(safe_paths)
def test_ordinary_paths_are_accepted(path: str) -> None:
    assert check_relative_path(path) == path


@given(safe_paths, safe_paths)
def test_distinct_means_distinct_without_case(one: str, two: str) -> None:
    inside = (two + "/").startswith(one + "/") or (one + "/").startswith(two + "/")
    if inside:
        with pytest.raises(UnsafePath):
            check_distinct_paths([one.upper(), two])
    else:
        check_distinct_paths([one.upper(), two])


@given(st.lists(safe_paths, max_size=4))
def test_files_of_a_manifest_have_safe_distinct_names(paths: list[str]) -> None:
    layers = tuple(
        blob_of(path.encode()).model_copy(update={"annotations": {FILE_PATH: path}})
        for path in paths
    )
    try:
        found = Manifest(config=blob_of(b"{}"), layers=layers).files()
    except UnsafePath:
        return
    assert sorted(found) == sorted(paths)


# --- streams ------------------------------------------------------------------------------------


class Chunked:
    """Gives as many bytes at once as it likes, as sockets do."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._raw, self._sizes, self._turn = io.BytesIO(data), sizes or [7], 0

    def read(self, size: int = -1, /) -> bytes:
        self._turn += 1
        most = self._sizes[self._turn % len(self._sizes)]
        return self._raw.read(most if size < 0 else min(size, most))


sizes = st.lists(st.integers(1, 50), min_size=1, max_size=5)
mutations = st.one_of(
    st.tuples(st.just("flip"), st.integers(0, 10_000), st.integers(1, 255)),
    st.tuples(st.just("cut"), st.integers(0, 10_000), st.just(0)),
    st.tuples(st.just("add"), st.integers(0, 10_000), st.integers(0, 255)),
    st.tuples(st.just("drop"), st.integers(0, 10_000), st.just(0)),
)


def mutate(data: bytes, mutation: tuple[str, int, int]) -> bytes:
    how, place, value = mutation
    at = place % max(1, len(data))
    if how == "flip" and data:
        return data[:at] + bytes([data[at] ^ value]) + data[at + 1 :]
    if how == "cut":
        return data[:at]
    if how == "add":
        return data[:at] + bytes([value]) + data[at:]
    return data[:at] + data[at + 1 :]


@given(st.binary(max_size=300), sizes, sizes)
def test_the_right_bytes_pass_however_they_are_cut(
    data: bytes, source: list[int], wanted: list[int]
) -> None:
    reader = VerifyingReader(Chunked(data, source), blob_of(data))
    out, turn = b"", 0
    while chunk := reader.read(wanted[turn % len(wanted)]):
        out, turn = out + chunk, turn + 1
    assert out == data


@given(st.binary(max_size=300), mutations, sizes)
def test_any_other_bytes_never_pass(
    data: bytes, mutation: tuple[str, int, int], source: list[int]
) -> None:
    other = mutate(data, mutation)
    assume(other != data)
    with pytest.raises(IntegrityError):
        read_verified(Chunked(other, source), blob_of(data))
