"""Registries, proxies and token servers that lie, refuse, forget and fill up: push and pull."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path

import pytest
from support import filled_store, leftovers, make_small_set, mounted, run_cli, say_yes, start_cli
from support.front import Ask, Asked, Front, Told
from support.registry import Registry, needs_registry

from xttsreg.catalog import Catalog
from xttsreg.content.digest import Digest
from xttsreg.content.reference import Reference
from xttsreg.errors import (
    BlobNotFound,
    DigestMismatch,
    IntegrityError,
    RemoteError,
    SizeMismatch,
    Unauthorized,
)
from xttsreg.ops import parallel
from xttsreg.ops.registry import Transferred, pull, push
from xttsreg.remote.address import Address
from xttsreg.remote.connection import Options
from xttsreg.remote.credentials import Credential
from xttsreg.stores.base import read_manifest, resolve
from xttsreg.stores.layout import LayoutStore

pytestmark = needs_registry
OWN = Reference.parse("own:v1")
PAGE = b"<html>Welcome to the proxy</html>"
SECRET = "correct horse"
DOCKER = "application/vnd.docker.distribution"
QUICK = Options(attempts=3, sleep=lambda _: None)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


def bring(store: LayoutStore, address: str, options: Options = QUICK) -> Transferred:
    where = Address.parse(address)
    return pull(
        store, where, name=OWN, catalog=Catalog.load(), ask=say_yes, options=options
    )  # fmt: skip


def send(store: LayoutStore, address: str, options: Options = QUICK) -> Transferred:
    return push(store, OWN, Address.parse(address), options=options)


def tags_of(registry: Registry, repository: str) -> set[str]:
    from xttsreg.remote.registry import RegistryStore

    return set(RegistryStore(Address.parse(f"{registry.host}/{repository}:x"), QUICK).tags())


def flipped(data: bytes) -> bytes:
    return data[:1000] + bytes([data[1000] ^ 1]) + data[1001:]


# --- what comes is not what was asked for --------------------------------------------------------

Lie = Callable[[Told], Told]
BLOB_LIES: dict[str, tuple[Lie, type[Exception]]] = {
    "a flipped bit": (lambda t: Told(200, t.headers, flipped(bytes(t.body))), DigestMismatch),
    "a byte more": (lambda t: Told(200, t.headers, bytes(t.body) + b"x"), SizeMismatch),
    "a byte less": (lambda t: Told(200, t.headers, bytes(t.body)[:-1]), SizeMismatch),
    "no end": (lambda t: Told(200, t.headers, repeat(b"x" * 65536)), IntegrityError),
    "a page": (lambda t: Told(200, {"Content-Type": "text/html"}, PAGE), RemoteError),
    "something compressed": (
        lambda t: Told(200, {**t.headers, "Content-Encoding": "gzip"}, t.body),
        RemoteError,
    ),
}


@pytest.mark.parametrize("lie", BLOB_LIES)
def test_a_blob_that_is_another_one(
    registry: Registry, filled: LayoutStore, store: LayoutStore, lie: str
) -> None:
    send(filled, f"{registry.host}/blobs:v1")
    model = read_manifest(filled, resolve(filled, OWN)).files()["model.pth"]
    wrong, error = BLOB_LIES[lie]

    def change(asked: Asked, ask: Ask) -> Told:
        told = ask()
        is_model = asked.method == "GET" and model.digest in asked.path
        return wrong(told) if is_model else told

    with Front(registry.host, change) as front:
        with pytest.raises(error) as caught:
            bring(store, f"{front.host}/blobs:v1")
        assert "HF_TOKEN" not in str(getattr(caught.value, "hint", ""))
        assert store.tags() == {}
        assert not store.has(model)
        front.change = lambda _, ask: ask()
        bring(store, f"{front.host}/blobs:v1")  # what was wrong is not gone on from
    assert store.has(model, use_cache=False)
    assert leftovers(store) == []


def _another(told: Told) -> Told:
    return Told(200, told.headers, bytes(told.body).replace(b'"schemaVersion"', b'"schemaVersioN"'))


MANIFEST_LIES: dict[str, tuple[Lie, int]] = {
    # What the lie is, and the exit code; asked for by tag, but where a digest is named.
    "another digest than its bytes": (
        lambda t: Told(200, {**t.headers, "Docker-Content-Digest": Digest.of(b"x")}, t.body), 4
    ),
    "other bytes than its digest": (_another, 4),
    "a page": (lambda t: Told(200, {"Content-Type": "text/html"}, PAGE), 6),
    "a page that says it is JSON": (
        lambda t: Told(200, {"Content-Type": t.headers["Content-Type"]}, PAGE), 2
    ),
    "no end": (lambda t: Told(200, t.headers, repeat(b" " * 65536)), 2),
    "another kind": (
        lambda t: Told(200, {"Content-Type": f"{DOCKER}.manifest.v2+json"}, t.body), 2
    ),
}  # fmt: skip


@pytest.mark.parametrize("lie", MANIFEST_LIES)
def test_a_manifest_that_is_another_one(
    registry: Registry, filled: LayoutStore, store: LayoutStore, tmp_path: Path, lie: str
) -> None:
    sent = send(filled, f"{registry.host}/manifests:v1")
    wrong, code = MANIFEST_LIES[lie]

    def change(asked: Asked, ask: Ask) -> Told:
        told = ask()
        return wrong(told) if asked.method == "GET" and "/manifests/" in asked.path else told

    with Front(registry.host, change) as front:
        which = f"@{sent.manifest.digest}" if lie.startswith("other bytes") else ":v1"
        address = f"{front.host}/manifests{which}"
        done = run_cli(["pull", address, "own:v1", "--store", store.root], tmp_path / "home")
        assert done.code == code, done.stderr
        assert done.error
        assert done.hint
    assert (store.tags(), store.entries()) == ({}, ())


def test_a_tag_that_moves_during_pull(
    registry: Registry, filled: LayoutStore, store: LayoutStore, tmp_path: Path
) -> None:
    """Either all of the old one, or an error: never some files of each."""
    old = send(filled, f"{registry.host}/moves:v1").manifest
    newer = filled_store(tmp_path / "newer", make_small_set(tmp_path / "w", seed=3))

    def change(asked: Asked, ask: Ask) -> Told:
        if "/blobs/" in asked.path and len(front.requests("GET", "/blobs/")) == 1:
            send(newer, f"{registry.host}/moves:v1")
        return ask()

    with Front(registry.host, change) as front:
        done = bring(store, f"{front.host}/moves:v1")
    assert done.manifest.digest == old.digest == store.tags()["own:v1"].digest
    for blob in read_manifest(store, old).blobs():
        assert store.has(blob, use_cache=False)
    assert resolve(newer, OWN).digest != old.digest
    # Where the old one has been removed as well, nothing half of it is taken.
    other = LayoutStore.create(tmp_path / "other")

    def forget(asked: Asked, ask: Ask) -> Told:
        gone = "/blobs/" in asked.path and len(front.requests("HEAD", "/blobs/")) > 2
        return Told(404, {"Content-Type": "application/json"}) if gone else ask()

    with Front(registry.host, forget) as front:
        with pytest.raises(BlobNotFound, match="moves"):
            bring(other, f"{front.host}/moves:v1")
        assert other.tags() == {}
        front.change = lambda _, ask: ask()
        bring(other, f"{front.host}/moves:v1")


# --- what goes does not arrive -------------------------------------------------------------------


def test_what_is_changed_on_the_way_is_refused_there(
    registry: Registry, filled: LayoutStore
) -> None:
    def change(asked: Asked, ask: Ask) -> Told:
        if asked.method == "PATCH" and len(asked.body) > 100_000:
            asked.body = flipped(asked.body)
        return ask()

    with Front(registry.host, change) as front:
        with pytest.raises(DigestMismatch) as caught:
            send(filled, f"{front.host}/flipped:v1")
        assert "changed on the way" in str(caught.value.hint)
        assert tags_of(registry, "flipped") == set()
        front.change = lambda _, ask: ask()
        send(filled, f"{front.host}/flipped:v1")
    assert tags_of(registry, "flipped") == {"flipped:v1"}


def test_a_registry_that_says_it_has_what_it_has_not(
    registry: Registry, filled: LayoutStore, tmp_path: Path
) -> None:
    model = read_manifest(filled, resolve(filled, OWN)).files()["model.pth"]

    def change(asked: Asked, ask: Ask) -> Told:
        if asked.method == "HEAD" and model.digest in asked.path:
            return Told(200, {"Content-Length": str(model.size_bytes)})
        return ask()

    with Front(registry.host, change) as front:
        there = f"{front.host}/boasts:v1"
        done = run_cli(["push", "own:v1", there, "--store", filled.root], tmp_path / "home")
    assert done.code == 6
    assert "MANIFEST_BLOB_UNKNOWN" in done.error
    assert tags_of(registry, "boasts") == set()

    def shorter(asked: Asked, ask: Ask) -> Told:
        told = ask()
        if asked.method == "HEAD" and model.digest in asked.path and told.status == 200:
            return Told(200, {"Content-Length": str(model.size_bytes - 1)})
        return told

    with Front(registry.host, shorter) as front:  # what it has in another size, it gets again
        send(filled, f"{front.host}/boasts:v1")
        before = len(front.requests("PATCH"))
        send(filled, f"{front.host}/boasts:v1")
        assert len(front.requests("PATCH")) > before
        with pytest.raises(SizeMismatch):
            bring(LayoutStore.create(tmp_path / "new"), f"{front.host}/boasts:v1")


def test_a_registry_that_takes_a_manifest_for_another(
    registry: Registry, filled: LayoutStore
) -> None:
    def change(asked: Asked, ask: Ask) -> Told:
        told = ask()
        if asked.method == "PUT" and "/manifests/" in asked.path:
            told.headers["Docker-Content-Digest"] = Digest.of(b"x")
        return told

    with Front(registry.host, change) as front, pytest.raises(DigestMismatch):
        send(filled, f"{front.host}/another:v1")


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_a_page_instead_of_an_answer(
    registry: Registry, filled: LayoutStore, tmp_path: Path, method: str
) -> None:
    """A login page of a proxy is neither success nor a reason to try for ever."""

    def change(asked: Asked, ask: Ask) -> Told:
        return Told(200, {"Content-Type": "text/html"}, PAGE) if asked.method == method else ask()

    with Front(registry.host, change) as front:
        there = f"{front.host}/page-{method.lower()}:v1"
        done = run_cli(["push", "own:v1", there, "--store", filled.root], tmp_path / "home")
    assert done.code == 6, done.stderr
    assert tags_of(registry, f"page-{method.lower()}") == set()


def test_a_registry_that_is_out_of_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # One blob at a time, the largest first: distribution's registry never recovers from a small
    # file that it has cut off.
    monkeypatch.setattr(parallel, "cores", lambda: 1)
    source = filled_store(tmp_path / "s", make_small_set(tmp_path / "w", model_pth=6_000_000))
    disk = tmp_path / "disk"
    with (
        mounted(disk, "-t", "tmpfs", "-o", "size=4m", "none"),
        Registry(disk / "registry") as registry,
    ):
        with pytest.raises(RemoteError) as caught:
            send(source, f"{registry.host}/full:v1")
        assert "a full disk, perhaps" in str(caught.value.hint)
        assert tags_of(registry, "full") == set()
        subprocess.run(["mount", "-o", "remount,size=40m", str(disk)], check=True)
        send(source, f"{registry.host}/full:v1")
        bring(LayoutStore.create(tmp_path / "there"), f"{registry.host}/full:v1")


# --- not now -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500])
def test_each_kind_of_request_is_made_again_when_it_was_refused_in_passing(
    registry: Registry, filled: LayoutStore, store: LayoutStore, status: int
) -> None:
    refused, waited = set[str](), list[float]()
    lock = threading.Lock()

    def change(asked: Asked, ask: Ask) -> Told:
        kind = "blobs" if "/blobs/" in asked.path else asked.path.split("/")[-2]
        with lock:
            first = f"{asked.method} {kind}" not in refused
            refused.add(f"{asked.method} {kind}")
        if first and kind != "":
            return Told(status, {"Retry-After": "7"})
        return ask()

    options = Options(attempts=8, sleep=waited.append)
    with Front(registry.host, change) as front:
        send(filled, f"{front.host}/busy-{status}:v1", options)
        refused.clear()
        done = bring(store, f"{front.host}/busy-{status}:v1", options)
    assert done.manifest.digest == resolve(filled, OWN).digest
    assert {"HEAD blobs", "GET blobs", "GET manifests"} <= refused
    assert sum(waited) >= 5 * 7
    assert max(waited) <= 7


@pytest.mark.parametrize(
    ("verb", "method"), [("push", "HEAD"), ("push", "POST"), ("pull", "HEAD"), ("pull", "GET")]
)
def test_ctrl_c_need_not_wait_for_a_registry_that_asks_for_patience(
    registry: Registry, filled: LayoutStore, tmp_path: Path, verb: str, method: str
) -> None:
    def change(asked: Asked, ask: Ask) -> Told:
        stopped = asked.method == method and "/blobs/" in asked.path
        return Told(503, {"Retry-After": "200"}) if stopped else ask()

    if verb == "pull":
        send(filled, f"{registry.host}/patience:v1")
    store = filled.root if verb == "push" else tmp_path / "store"
    with Front(registry.host, change) as front:
        address = f"{front.host}/patience:v1"
        names = ["own:v1", address] if verb == "push" else [address]
        process = start_cli([verb, *names, "--store", store], tmp_path / "home")
        try:
            while not front.requests(method, "/blobs/"):
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 130


# --- who is it -----------------------------------------------------------------------------------


class TokenServer:
    """Wants a bearer token, issues it to who has the secret, and lets it expire after five uses."""

    def __init__(self, right: str) -> None:
        self.right, self.uses, self.issued = right, 0, 0

    def __call__(self, asked: Asked, ask: Ask) -> Told:
        if asked.path.startswith("/token"):
            if self.right not in (asked.headers.get("Authorization"), asked.body.decode()):
                return Told(401, {}, b"{}")
            self.uses, self.issued = 0, self.issued + 1
            return Told(200, {}, json.dumps({"access_token": f"t{self.issued}"}).encode())
        self.uses += 1
        if asked.headers.get("Authorization") != f"Bearer t{self.issued}" or self.uses > 5:
            realm = f"http://{asked.headers['Host']}/token"
            asks = {"WWW-Authenticate": f'Bearer realm="{realm}",service="s"'}
            return Told(401, asks, b"{}")
        return ask()


BASIC = "Basic " + base64.b64encode(f"ada:{SECRET}".encode()).decode()


def knows(secret: str, *, identity: bool = False) -> Options:
    credential = Credential("" if identity else "ada", secret, identity=identity)
    return Options(find=lambda _: credential, attempts=8, sleep=lambda _: None)


def test_tokens_are_fetched_and_renewed_until_the_password_is_another(
    registry: Registry, filled: LayoutStore, store: LayoutStore
) -> None:
    server = TokenServer(BASIC)
    with Front(registry.host, server) as front:
        there = f"{front.host}/tokens:v1"
        with pytest.raises(Unauthorized, match="does not take this name and password"):
            send(filled, there, knows("wrong"))
        assert server.issued == 0

        def revoke(asked: Asked, ask: Ask) -> Told:
            if asked.method == "PATCH":
                server.right = "somebody else's"
            return server(asked, ask)

        front.change = revoke
        with pytest.raises(Unauthorized) as caught:
            send(filled, there, knows(SECRET))
        assert "xttsreg login" in str(caught.value.hint)
        assert tags_of(registry, "tokens") == set()
        server.right, front.change = BASIC, server
        send(filled, there, knows(SECRET))
        issued = server.issued
        assert issued > 3
        assert any("push" in asked.path for asked in front.requests("GET", "/token"))
        bring(store, there, knows(SECRET))
        assert server.issued > issued
        # A token that is expired for good, in the middle of the blobs.
        other = LayoutStore.create(store.root.parent / "other")
        server.right = "somebody else's"
        with pytest.raises(Unauthorized) as caught:
            bring(other, there, knows(SECRET))
        assert "xttsreg login" in str(caught.value.hint)
        assert other.tags() == {}


def test_identity_tokens(registry: Registry, filled: LayoutStore) -> None:
    """As ``docker login`` keeps them where passwords are not to lie about (OAuth2)."""
    form = (
        "service=s&scope=repository%3Aidentity%3Apull%2Cpush&grant_type=refresh_token"
        "&client_id=xttsreg&refresh_token=keep-me"
    )
    with Front(registry.host, TokenServer(form)) as front:
        send(filled, f"{front.host}/identity:v1", knows("keep-me", identity=True))
        assert {asked.method for asked in front.asked if asked.path == "/token"} == {"POST"}
        with pytest.raises(Unauthorized):
            send(filled, f"{front.host}/identity:v2", knows("lost", identity=True))


@pytest.mark.parametrize(
    "answer", [PAGE, b"{}", b'{"token": 7}', b'{"token": "a b"}', b"[]", b'{"token": ""}']
)
def test_a_token_server_that_gives_no_token(
    registry: Registry, filled: LayoutStore, answer: bytes
) -> None:
    def change(asked: Asked, ask: Ask) -> Told:
        if asked.path.startswith("/token"):
            return Told(200, {}, answer)
        return TokenServer("")(asked, ask)

    with Front(registry.host, change) as front, pytest.raises(RemoteError, match="token"):
        send(filled, f"{front.host}/none:v1", knows(SECRET))
