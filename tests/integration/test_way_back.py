"""There and back by the command line: signed in both directions, and only what is missing."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import Ran, blob_file, make_small_set, run_cli
from support.ssh import allow, make_key

from xttsreg.content.digest import Digest
from xttsreg.content.reference import Reference
from xttsreg.ops.lineage import Lineage, load_base, register_voice
from xttsreg.stores.layout import LayoutStore

pytestmark = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="no ssh-keygen here")


@dataclass
class Side:
    """One side of the gap: its home, its key, and whom it trusts."""

    home: Path
    key: Path

    def run(self, *args: object, **env: str) -> Ran:
        done = run_cli(args, self.home, **env)
        assert done.code == 0, done.stderr
        return done

    def fails(self, code: int, says: str, *args: object, **env: str) -> Ran:
        done = run_cli(args, self.home, **env)
        assert done.code == code, done.stderr
        assert says in done.error
        assert done.hint
        assert done.stdout == ""
        return done

    @property
    def store(self) -> LayoutStore:
        return LayoutStore.open_existing(self.home / "store")


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Side, Side]:
    """Online with a set, and offline with nothing; each trusts the other's key."""
    online, offline = (Side(tmp_path / name, make_key(tmp_path / "keys", name))
                       for name in ("online", "offline"))  # fmt: skip
    for one, other, name in ((online, offline, "site"), (offline, online, "center")):
        one.home.mkdir()
        allow(one.home / "allowed_signers", **{name: other.key})
    online.run("add", "own:v1", make_small_set(tmp_path / "w1"))
    return online, offline


def trained(side: Side, directory: Path) -> None:
    """What the end of a training run does."""
    make_small_set(directory, seed=9)
    shutil.copy(blob_file(side.store, "vocab.json"), directory / "vocab.json")
    story = Lineage(dataset_digest=Digest.of(b"d"), config_path="config.json",
                    created="2026-01-01T00:00:00Z", author="ada")  # fmt: skip
    _, base = load_base(side.store, Reference.parse("own:v1"))
    register_voice(side.store, Reference.parse("voice:v1"), directory, story, base)


def test_there_and_back_and_there_again(sides: tuple[Side, Side], tmp_path: Path) -> None:
    online, offline = sides
    first, back, update = (tmp_path / name for name in ("first", "back", "update"))

    online.run("bundle", "own:v1", "-o", first, "--sign", online.key)
    done = offline.run("import", first)
    assert "signed by center@lab (SHA256:" in done.stderr
    offline.fails(
        4, "does not know", "import", first, XTTSREG_TRUST=str(online.home / "allowed_signers")
    )

    # A voice comes back; its base stays where it is.
    trained(offline, tmp_path / "run")
    done = offline.run("bundle", "voice:v1", "--thin", "-o", back, "--sign", offline.key)
    assert "left out" in done.stderr
    assert not (back / "blobs" / "sha256" / blob_file(offline.store, "vocab.json").name).exists()
    told = json.loads(online.run("import", back, "--json").stdout)
    assert told["origin"]["principal"] == "site@lab"
    assert online.store.tags()["voice:v1"].digest == offline.store.tags()["voice:v1"].digest
    online.run("verify", "--no-cache")
    online.run("checkout", "voice:v1", tmp_path / "view")
    assert (tmp_path / "view" / "vocab.json").stat().st_size == 3_000

    # The next bundle brings only what is new.
    inventory = tmp_path / "inventory.json"
    done = offline.run("inventory", "-o", inventory, "--sign", offline.key)
    assert done.stdout.split() == [str(inventory), f"{inventory}.sig"]
    online.run("add", "two:v1", make_small_set(tmp_path / "w2", seed=2))
    refs = ("own:v1", "two:v1", "voice:v1")
    done = online.run("bundle", *refs, "--since", inventory, "-o", update, "--sign", online.key)
    assert "site@lab" in done.stderr
    for path, ref in (("model.pth", "own:v1"), ("model.pth", "voice:v1")):
        name = blob_file(online.store, path, ref).name
        assert not (update / "blobs" / "sha256" / name).exists()
    offline.run("import", update)
    assert list(offline.store.tags()) == list(refs)
    offline.run("verify", "--no-cache")

    # The first one is old by now; and whoever has nothing cannot use the last one.
    done = offline.fails(4, "is older than", "import", first)
    assert "--allow-older" in done.hint
    offline.run("import", first, "--allow-older")
    stranger = Side(tmp_path / "stranger", online.key)
    done = stranger.fails(3, "thin bundle", "import", update)
    assert "own:v1" in done.hint
    assert not (stranger.home / "store").exists()


def test_what_is_not_signed(sides: tuple[Side, Side], tmp_path: Path) -> None:
    online, offline = sides
    online.run("bundle", "own:v1", "-o", tmp_path / "stick")
    done = offline.fails(4, "not signed", "import", tmp_path / "stick")
    assert "--allow-unsigned" in done.hint
    assert not (offline.home / "store").exists()
    done = offline.run("import", tmp_path / "stick", "--allow-unsigned")
    assert "not signed" in done.stderr
    inventory = tmp_path / "inventory.json"
    offline.run("inventory", "-o", inventory)
    args = ["bundle", "own:v1", "-o", tmp_path / "next", "--since", inventory]
    online.fails(4, "not signed", *args)
    online.run(*args, "--allow-unsigned")
    trust = ["--trust", online.home / "allowed_signers", "--revoked", tmp_path / "absent"]
    offline.fails(2, "absent", "import", tmp_path / "stick", *trust)


def test_keys_that_do_not_work(sides: tuple[Side, Side], tmp_path: Path) -> None:
    online, _ = sides
    locked = make_key(tmp_path / "keys", "locked", passphrase="secret")
    stick = tmp_path / "stick"
    online.fails(2, "no such key", "bundle", "own:v1", "-o", stick, "--sign", tmp_path / "x")
    done = online.fails(1, "passphrase", "bundle", "own:v1", "-o", stick, "--sign", locked)
    assert "agent" in done.hint
    online.fails(2, "needs a file", "inventory", "--sign", locked)
    online.fails(8, "ssh-keygen", "bundle", "own:v1", "-o", stick, "--sign", locked, PATH="")
    assert not stick.exists()


def test_two_sticks(sides: tuple[Side, Side], tmp_path: Path) -> None:
    online, offline = sides
    args = ["bundle", "own:v1", "-o", tmp_path / "sticks", "--volume-size", "250000"]
    online.run(*args, "--sign", online.key)
    one, two = (tmp_path / "sticks" / f"volume-{number}" for number in (1, 2))
    told = json.loads(offline.run("import", two, "--json").stdout)
    assert (told["missing"], told["origin"]["principal"]) == ([1], "center@lab")
    (one / "SHA256SUMS.sig").rename(tmp_path / "kept")
    offline.fails(4, "not signed", "import", one)
    done = offline.fails(4, "one signer", "import", one, "--allow-unsigned")
    assert "volume 1 is not signed, volume 2 is signed by center@lab" in done.error
    (tmp_path / "kept").rename(one / "SHA256SUMS.sig")
    offline.run("import", one)
    offline.run("verify", "--no-cache")
    assert list(offline.store.tags()) == ["own:v1"]
