"""What must stay secret: not in files, not in what is said, not in what other users can see."""

from __future__ import annotations

import base64
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fault.tracing import require_tracing
from support import (
    REPO,
    REVISION,
    Ran,
    catalog_for,
    clean_environment,
    command,
    filled_store,
    make_small_set,
    run_cli,
)
from support.registry import guarded_registry, needs_registry
from support.ssh import make_key, needs_ssh

from xttsreg.demo.hub import Hub
from xttsreg.stores.layout import LayoutStore

TOKEN = "hf_canary" + "x" * 20
PASSWORD = "canary-password"
PAIR = base64.b64encode(f"ada:{PASSWORD}".encode()).decode()
SECRETS = (TOKEN, PASSWORD, PAIR)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def told(root: Path, *runs: Ran, besides: str = "") -> list[str]:
    """Where a secret can be read, in any file below or in what was said."""
    found = [f"said: {secret}" for run in runs for secret in SECRETS
             if secret in run.stdout + run.stderr]  # fmt: skip
    for path in root.rglob("*"):
        if path.is_file() and path.name != besides:
            data = path.read_bytes()
            found += [f"{path}: {secret}" for secret in SECRETS if secret.encode() in data]
    return found


def test_tokens_are_nowhere(tmp_path: Path) -> None:
    """Fetched, bundled, repaired, and refused in every way; with tracebacks, which show a lot."""
    weights, home = make_small_set(tmp_path / "weights"), tmp_path / "home"
    runs = []

    def run(*args: object, token: str = TOKEN, **env: str) -> Ran:
        runs.append(run_cli(["--debug", *args], home, HF_TOKEN=token, **env))
        return runs[-1]

    with Hub(weights, repo=REPO, revision=REVISION, token=TOKEN) as hub:
        catalog = ["--catalog", catalog_for(tmp_path / "catalog", weights, hub.url)]
        endpoint = {"HF_ENDPOINT": hub.url}
        assert run(*catalog, "fetch", "small", token=f"{TOKEN}-wrong", **endpoint).code == 6
        assert run(*catalog, "fetch", "small", **endpoint).code == 0
        for path in (home / "store" / "blobs" / "sha256").iterdir():
            path.chmod(0o644)
            path.write_bytes(b"rotten")
        mended = run(*catalog, "verify", "--repair", "--from", "small", **endpoint)
        assert mended.code == 0, mended.stderr
    proxy = f"http://ada:{PASSWORD}@127.0.0.1:9"
    shutil.rmtree(home / "store")
    assert run(*catalog, "fetch", "small", HTTPS_PROXY=proxy, HTTP_PROXY=proxy).code == 6
    assert run(*catalog, "fetch", "small", token=f"{TOKEN} x").code == 2
    for url in (f"http://ada:{PASSWORD}@127.0.0.1:9/x", f"http://127.0.0.1:9/x?key={PASSWORD}"):
        filled_store(home / "store", weights)
        for path in (home / "store" / "blobs" / "sha256").iterdir():
            path.unlink()
        assert run("verify", "--repair", "--from", url).code in (4, 6)
    shutil.rmtree(home / "store")
    filled_store(home / "store", weights)
    assert run("bundle", "own:v1", "-o", tmp_path / "stick").code == 0
    assert run("inventory").code == 0
    assert told(tmp_path, *runs) == []


def traced(log: Path, environment: dict[str, str], *args: object, stdin: str = "") -> str:
    """Every program that a command starts, with its arguments: any user can read those."""
    require_tracing()
    done = subprocess.run(
        ["strace", "-f", "-qq", "-s", "100000", "-e", "trace=execve", "-o", log, *command(*args)],
        env=environment, input=stdin, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen = log.read_text()
    log.unlink()
    assert [s for s in SECRETS if s in seen + done.stdout + done.stderr] == []
    return seen


def script(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return path


@needs_ssh
def test_a_passphrase_is_no_argument_of_a_child(tmp_path: Path) -> None:
    home, key = tmp_path / "home", make_key(tmp_path / "keys", "key", passphrase=PASSWORD)
    filled_store(home / "store", make_small_set(tmp_path / "weights"))
    ask = script(tmp_path / "ask", f"echo {PASSWORD}")
    environment = clean_environment(
        home, HF_TOKEN=TOKEN, SSH_ASKPASS=str(ask), SSH_ASKPASS_REQUIRE="force"
    )
    stick = tmp_path / "stick"
    seen = traced(tmp_path / "log", environment, "bundle", "own:v1", "-o", stick, "--sign", key)
    assert "ssh-keygen" in seen
    assert (stick / "SHA256SUMS.sig").is_file()
    ask.unlink()
    assert told(tmp_path) == []


@needs_registry
def test_a_password_reaches_its_helper_and_nobody_else(tmp_path: Path) -> None:
    home, kept = tmp_path / "home", tmp_path / "kept"
    docker = tmp_path / "docker"
    docker.mkdir()
    (docker / "config.json").write_text('{"credsStore": "vault"}')
    script(tmp_path / "docker-credential-vault", f"cat > {kept}")
    environment = clean_environment(
        home, DOCKER_CONFIG=str(docker), PATH=f"{tmp_path}:{os.environ['PATH']}"
    )
    with guarded_registry(tmp_path / "registry", PASSWORD) as registry:
        login = ["login", registry.host, "-u", "ada", "--password-stdin"]
        seen = traced(tmp_path / "log", environment, *login, stdin=PASSWORD + "\n")
    assert "docker-credential-vault" in seen
    assert PASSWORD in kept.read_text()
    assert told(tmp_path, besides=kept.name) == []


@needs_ssh
def test_a_key_that_others_can_read_does_not_sign(tmp_path: Path) -> None:
    key = make_key(tmp_path / "keys", "key")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    key.chmod(0o644)
    home = tmp_path / "home"
    filled_store(home / "store", make_small_set(tmp_path / "weights"))
    done = run_cli(["bundle", "own:v1", "-o", tmp_path / "stick", "--sign", key], home)
    assert (done.code, done.hint != "") == (1, True), done.stderr
    assert not (tmp_path / "stick" / "SHA256SUMS").exists()


def test_a_tight_umask_stays_tight(tmp_path: Path) -> None:
    """Store, bundle, journal, view and inventory: nothing widens what the umask allows."""
    weights, home = make_small_set(tmp_path / "weights"), tmp_path / "home"
    home.mkdir()
    with umask(0o077):
        for args in (
            ["add", "own:v1", weights],
            ["verify"],
            ["bundle", "own:v1", "-o", home / "stick"],
            ["bundle", "own:v1", "--archive", home / "stick.tar"],
            ["checkout", "own:v1", home / "view"],
            ["inventory", "-o", home / "inventory.json"],
            ["export", "own:v1", home / "export"],
        ):
            done = run_cli(args, home)
            assert done.code == 0, (args, done.stderr)
        assert run_cli(["import", home / "stick"], home / "second").code == 0
    inside = [path for path in home.rglob("*") if not path.is_symlink()]
    wide = [f"{path} {path.stat().st_mode:o}" for path in inside if path.stat().st_mode & 0o077]
    assert (wide, len(inside) > 30) == ([], True)


def test_what_others_may_read_they_may_not_write(tmp_path: Path) -> None:
    with umask(0o002):
        store = filled_store(tmp_path / "store", make_small_set(tmp_path / "weights"))
    blobs = [store.blob_path(digest) for digest in store.blob_digests()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in blobs} == {0o444}
    assert LayoutStore.open_existing(store.root).tags().keys() == {"own:v1"}
