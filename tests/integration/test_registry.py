"""Push and pull, against a real registry: distribution's."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
import shutil
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import filled_store, make_small_set
from support.registry import Registry, guarded_registry, needs_registry

from xttsreg.catalog import Catalog
from xttsreg.cli import main
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import MANIFEST_TYPE
from xttsreg.content.modelpack import CONFIG_TYPE, ModelInfo, build_model, file_layer
from xttsreg.content.reference import Reference
from xttsreg.errors import (
    AlreadyExists,
    DigestMismatch,
    InvalidReference,
    RemoteError,
    SizeMismatch,
    TagNotFound,
    Unauthorized,
    UnsafePickle,
)
from xttsreg.ops import licensing
from xttsreg.ops.registry import Transferred, pull, push, relay
from xttsreg.remote import upload
from xttsreg.remote.address import Address
from xttsreg.remote.connection import Options
from xttsreg.remote.credentials import find_credential
from xttsreg.stores.base import read_manifest, resolve
from xttsreg.stores.layout import LayoutStore

pytestmark = needs_registry
OWN = Reference.parse("own:v1")
SECRET = "correct horse"
QUICK = Options(attempts=3, sleep=lambda _: None)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


def bring(store: LayoutStore, address: str, **options: object) -> Transferred:
    return pull(
        store, Address.parse(address), catalog=Catalog.load(), ask=lambda _: "test", **options
    )  # type: ignore[arg-type]


def send(store: LayoutStore, address: str, options: Options | None = None) -> Transferred:
    return push(store, OWN, Address.parse(address), options=options)


def test_there_and_back(registry: Registry, filled: LayoutStore, store: LayoutStore) -> None:
    entry = resolve(filled, OWN)
    manifest = read_manifest(filled, entry)
    licensing.record(filled, entry, manifest, licensing.accepted_now("test"))
    sent = send(filled, f"{registry.host}/team/there:v1")
    assert sent.copied.size_bytes > 200_000
    done = bring(store, f"{registry.host}/team/there:v1")
    assert (done.tagged, done.manifest.digest) == ("team/there:v1", entry.digest)
    for blob in manifest.blobs():
        assert store.has(blob, use_cache=False)
    assert licensing.find_acceptance(store, entry, manifest) is not None


def test_nothing_is_sent_or_brought_twice(
    registry: Registry, filled: LayoutStore, store: LayoutStore
) -> None:
    send(filled, f"{registry.host}/twice:v1")
    before = len(registry.requests("PATCH"))
    again = send(filled, f"{registry.host}/twice:v1")
    assert (again.copied.size_bytes, len(registry.requests("PATCH"))) == (0, before)
    other = send(filled, f"{registry.host}/mounted:v1")
    assert other.copied.size_bytes > 0
    assert len(registry.requests("PATCH")) == before  # mounted from the first repository
    bring(store, f"{registry.host}/twice:v1")
    assert bring(store, f"{registry.host}/twice:v1").copied.size_bytes == 0


def test_from_one_registry_to_another(
    registry: Registry, filled: LayoutStore, store: LayoutStore, tmp_path: Path
) -> None:
    entry = resolve(filled, OWN)
    manifest = read_manifest(filled, entry)
    licensing.record(filled, entry, manifest, licensing.accepted_now("test"))
    source = send(filled, f"{registry.host}/relayed:v1").address
    with Registry(tmp_path / "other") as other:
        args = ["copy", str(source), f"{other.host}/team/there", "--json"]
        assert main(args) == 0
        before = len(registry.requests("GET", "/blobs/"))
        again = relay(source, Address.parse(f"{other.host}/team/there:v1"), options=QUICK)
        assert (again.copied.size_bytes, again.manifest.digest) == (0, entry.digest)
        # What the target has is not even fetched.
        assert len(registry.requests("GET", "/blobs/")) == before
        done = bring(store, f"{other.host}/team/there:v1")
    assert done.manifest.digest == entry.digest
    for blob in manifest.blobs():
        assert store.has(blob, use_cache=False)
    assert licensing.find_acceptance(store, entry, manifest) is not None


def test_within_a_registry_nothing_is_sent(registry: Registry, filled: LayoutStore) -> None:
    source = send(filled, f"{registry.host}/first:v1").address
    patched, got = (len(registry.requests(m, "/blobs/")) for m in ("PATCH", "GET"))
    done = relay(source, Address.parse(f"{registry.host}/second:v2"), options=QUICK)
    assert str(done.address).startswith(f"{registry.host}/second:v2@")
    assert len(registry.requests("PATCH")) == patched
    assert len(registry.requests("GET", "/blobs/")) == got
    with pytest.raises(InvalidReference, match="cannot choose a digest"):
        relay(source, done.address, options=QUICK)
    missing = Address.parse(f"{registry.host}/first:none")
    with pytest.raises(TagNotFound):
        relay(missing, Address.parse(f"{registry.host}/third:v1"), options=QUICK)


def test_a_name_that_means_something_else_is_kept(
    registry: Registry, filled: LayoutStore, tmp_path: Path
) -> None:
    send(filled, f"{registry.host}/own:v1")
    other = filled_store(tmp_path / "other", make_small_set(tmp_path / "w", seed=2))
    before = resolve(other, OWN).digest
    with pytest.raises(AlreadyExists, match="in the registry"):
        bring(other, f"{registry.host}/own:v1")
    assert resolve(other, OWN).digest == before
    done = bring(other, f"{registry.host}/own:v1", name=Reference.parse("theirs:v1"))
    assert done.tagged == "theirs:v1"
    assert bring(other, f"{registry.host}/own:v1", force=True).tagged == "own:v1"
    assert resolve(other, OWN).digest != before


def test_a_digest_holds_when_the_tag_moves(
    registry: Registry, filled: LayoutStore, store: LayoutStore, tmp_path: Path
) -> None:
    first = send(filled, f"{registry.host}/moves:v1")
    newer = filled_store(tmp_path / "newer", make_small_set(tmp_path / "w", seed=3))
    send(newer, f"{registry.host}/moves:v1")
    assert bring(store, str(first.address)).manifest.digest == first.manifest.digest


def test_unknown_names(registry: Registry, store: LayoutStore) -> None:
    with pytest.raises(TagNotFound) as caught:
        bring(store, f"{registry.host}/nothing:v1")
    assert "xttsreg login" in str(caught.value.hint)
    assert store.entries() == ()


@pytest.mark.parametrize(("damage", "error"), [("flip", DigestMismatch), ("cut", SizeMismatch)])
def test_a_registry_that_lies(
    tmp_path: Path, filled: LayoutStore, store: LayoutStore, damage: str, error: type[Exception]
) -> None:
    with Registry(tmp_path / "lies") as registry:
        send(filled, f"{registry.host}/own:v1")
        layer = read_manifest(filled, resolve(filled, OWN)).files()["model.pth"]
        data = next((tmp_path / "lies").rglob(f"{layer.digest.hex}/data"))
        content = bytearray(data.read_bytes())
        content[1000] ^= 1
        data.write_bytes(content if damage == "flip" else content[:-1])
        with pytest.raises(error):
            bring(store, f"{registry.host}/own:v1", options=QUICK)
        assert store.tags() == {}
        content[1000] ^= 1
        data.write_bytes(content)  # mended: what was wrong is not resumed from
        bring(store, f"{registry.host}/own:v1", options=QUICK)
        assert store.has(layer, use_cache=False)


def test_an_upload_goes_on_when_the_registry_comes_back(
    tmp_path: Path, store: LayoutStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "CHUNK_BYTES", 1024 * 1024)
    weights = make_small_set(tmp_path / "w", model_pth=40_000_000)
    source = filled_store(tmp_path / "source", weights)
    with Registry(tmp_path / "dies") as registry:

        def kill() -> None:
            while len(registry.requests("PATCH")) < 8:
                time.sleep(0.002)
            registry.kill()
            time.sleep(0.3)
            registry.start()

        patient = Options(attempts=10, sleep=lambda _: time.sleep(0.2))
        thread = threading.Thread(target=kill)
        thread.start()
        send(source, f"{registry.host}/own:v1", patient)
        thread.join()
        chunks = len(registry.requests("PATCH", "202"))
        assert 40 <= chunks < 80  # went on, and did not begin again
        done = bring(store, f"{registry.host}/own:v1")
    assert done.manifest.digest == resolve(source, OWN).digest


def test_a_pull_goes_on_where_it_stopped(
    registry: Registry, filled: LayoutStore, store: LayoutStore
) -> None:
    send(filled, f"{registry.host}/resume:v1")
    layer = read_manifest(filled, resolve(filled, OWN)).files()["model.pth"]
    with store.resumable(layer) as writer, filled.open(layer) as raw:
        assert writer
        writer.write(raw.read(150_000))
    before = len(registry.requests("GET", f"resume/blobs/{layer.digest}"))
    bring(store, f"{registry.host}/resume:v1")
    lines = registry.requests("GET", f"resume/blobs/{layer.digest}")[before:]
    assert any('" 206 50000 ' in line for line in lines)
    assert store.has(layer, use_cache=False)


def test_a_pickle_that_asks_for_code_gets_no_name(
    registry: Registry, tmp_path: Path, store: LayoutStore
) -> None:
    """Another client may have put it there, so the door of `add` and `import` is pull's, too."""
    source = LayoutStore.create(tmp_path / "source")
    data = pickle.dumps(os.system, protocol=2)
    layer = file_layer("model.pth", Digest.of(data), len(data))
    config, manifest = build_model(ModelInfo(name="own"), [layer])
    with source.writing():
        source.put_bytes(layer.media_type, data)
        source.put_bytes(CONFIG_TYPE, config)
        source.put_bytes(MANIFEST_TYPE, manifest.to_bytes())
        source.tag("own:v1", manifest.describe())
    send(source, f"{registry.host}/evil:v1")
    with pytest.raises(UnsafePickle, match="system"):
        bring(store, f"{registry.host}/evil:v1")
    assert store.entries() == ()


# --- who is it ---------------------------------------------------------------------------------


@pytest.fixture
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A registry that wants HTTP Basic; nobody is logged in."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    with guarded_registry(tmp_path / "guarded", SECRET) as running:
        yield running


def log_in(host: str, secret: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(secret + "\n"))
    return main(["login", host, "-u", "ada", "--password-stdin"])


def test_login(
    guarded: Registry,
    filled: LayoutStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(Unauthorized) as caught:
        send(filled, f"{guarded.host}/own:v1")
    assert "xttsreg login" in str(caught.value.hint)
    assert log_in(guarded.host, "wrong", monkeypatch) == 6
    kept = tmp_path / "docker" / "config.json"
    assert not kept.exists()
    assert log_in(guarded.host, SECRET, monkeypatch) == 0
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    send(filled, f"{guarded.host}/own:v1")
    assert (
        main(["--debug", "push", "--store", str(filled.root), "own:v1", f"{guarded.host}/b"]) == 0
    )
    said = "".join(capsys.readouterr())
    assert SECRET not in said
    assert base64.b64encode(f"ada:{SECRET}".encode()).decode() not in said
    assert main(["logout", guarded.host]) == 0
    assert main(["logout", guarded.host]) == 2
    assert find_credential(guarded.host) is None


def test_a_credential_helper(
    guarded: Registry, filled: LayoutStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = tmp_path / "bin" / "docker-credential-vault"
    helper.parent.mkdir()
    answer = json.dumps({"ServerURL": guarded.host, "Username": "ada", "Secret": SECRET})
    script = ["#!/bin/sh", "read host", '[ "$1" = get ] || exit 1', f"echo '{answer}'", ""]
    helper.write_text("\n".join(script))
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(helper.parent), prepend=":")
    config = tmp_path / "docker" / "config.json"
    config.parent.mkdir()
    config.write_text(json.dumps({"credHelpers": {guarded.host: "vault"}}))
    send(filled, f"{guarded.host}/own:v1")


def test_tls_with_an_own_authority(tmp_path: Path, filled: LayoutStore) -> None:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=registry", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    with Registry(tmp_path / "tls", certificate=(certificate, key)) as registry:
        with pytest.raises(RemoteError, match="certificate"):
            send(filled, f"{registry.host}/own:v1", QUICK)
        send(filled, f"{registry.host}/own:v1", Options(ca=certificate))
        code = main(["push", "--store", str(filled.root), "own:v1", f"{registry.host}/own",
                     "--ca", str(certificate)])  # fmt: skip
        assert code == 0


# --- others' tools -----------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed")
def test_skopeo_in_both_directions(
    registry: Registry, filled: LayoutStore, store: LayoutStore, tmp_path: Path
) -> None:
    digest = resolve(filled, OWN).digest
    send(filled, f"{registry.host}/skopeo/out:v1")

    def skopeo(source: str, target: str) -> None:
        subprocess.run(
            ["skopeo", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false",
             source, target],
            check=True, capture_output=True, text=True,
        )  # fmt: skip

    skopeo(f"docker://{registry.host}/skopeo/out:v1", f"oci:{tmp_path / 'theirs'}:own:v1")
    index = json.loads((tmp_path / "theirs" / "index.json").read_text())
    assert index["manifests"][0]["digest"] == digest
    skopeo(f"oci:{filled.root}:own:v1", f"docker://{registry.host}/skopeo/in:v1")
    assert bring(store, f"{registry.host}/skopeo/in:v1").manifest.digest == digest


def test_the_command_line(
    registry: Registry, filled: LayoutStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = resolve(filled, OWN).digest
    code = main(["push", "--store", str(filled.root), "own:v1", f"{registry.host}/cli/own"])
    assert code == 0
    assert capsys.readouterr().out == f"{registry.host}/cli/own:v1@{digest}\n"
    place = str(tmp_path / "new")
    assert (
        main(["pull", "--store", place, "--json", f"{registry.host}/cli/own:v1", "voice:v2"]) == 0
    )
    said = json.loads(capsys.readouterr().out)
    assert (said["ref"], said["digest"]) == ("voice:v2", digest)
    assert main(["push", "--store", place, "voice:v2", "team/voice:v2"]) == 2
    assert "host/repository:tag" in capsys.readouterr().err
    assert main(["pull", "--store", place, "127.0.0.1:9/x:y", "--plain-http"]) == 6
