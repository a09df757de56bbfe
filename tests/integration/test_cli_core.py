"""Every verb of the core as a user runs it: exit codes, two-line errors, data on stdout only."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from support import (
    REPO,
    REVISION,
    Ran,
    blob_file,
    catalog_for,
    damage,
    largest,
    make_small_set,
    mounted,
    read_only,
    run_cli,
    start_cli,
    tree,
)

from xttsreg.demo.hub import Fault, Hub
from xttsreg.stores.layout import LayoutStore


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with ``own:v1``, and a bundle of it. Only to be read; copy it to change it."""
    root = tmp_path_factory.mktemp("cli")
    weights = make_small_set(root / "weights")
    assert run_cli(["add", "own:v1", weights], root / "home").code == 0
    assert run_cli(["bundle", "own:v1", "-o", root / "stick"], root / "home").code == 0
    catalog_for(root / "catalog", weights, "http://127.0.0.1:9", required=True)
    return root


@pytest.fixture
def used(base: Path, tmp_path: Path) -> Path:
    """One's own copy of all of that."""
    shutil.copytree(base, tmp_path / "root")
    return tmp_path / "root"


def store_of(root: Path) -> LayoutStore:
    return LayoutStore.open_existing(root / "home" / "store")


def fails(done: Ran, code: int, says: str) -> Ran:
    """One clear error: its code, two lines, no traceback, nothing on stdout."""
    assert done.code == code, done.stderr
    assert says in done.error
    assert done.hint
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done


# --- the verbs ----------------------------------------------------------------------------------


def test_version_and_help(home: Path) -> None:
    assert run_cli(["--version"], home, fresh=True).stdout.startswith("xttsreg 0.")
    shown = run_cli(["--help"], home)
    assert shown.code == 0
    for verb in ("catalog", "fetch", "add", "ls", "gc", "verify", "bundle", "import", "train"):
        assert f"  {verb} " in shown.stdout
    assert not home.exists()


def test_catalog(base: Path) -> None:
    args = ["catalog", "ls", "--json", "--catalog", base / "catalog"]
    listed = run_cli(args, base / "home", fresh=True)
    refs = [row["ref"] for row in json.loads(listed.stdout)]
    assert refs == ["small:main", "xtts_v2:main"]
    table = run_cli(["catalog", "ls"], base / "home").stdout.splitlines()
    assert table[0].split() == ["REF", "REVISION", "FILES", "SIZE", "LICENCE"]
    shown = run_cli(["catalog", "show", "xtts_v2", "--json"], base / "home")
    assert len(json.loads(shown.stdout)["files"]) == 8
    text = run_cli(["catalog", "show", "xtts_v2"], base / "home").stdout
    assert "c7ea20001c6a0a841c77e252d8409f6a74fb423e79b3206a0771ba5989776187" in text


def test_a_catalogue_in_the_home_is_read(base: Path, home: Path) -> None:
    shutil.copytree(base / "catalog", home / "catalog")
    assert "small:main" in run_cli(["catalog", "ls"], home).stdout


def test_add_says_what_it_took_and_what_not(base: Path, home: Path, weights: Path) -> None:
    (weights / "notes.txt").write_text("mine")
    done = run_cli(["add", "own:v1", weights, "--json"], home)
    value = json.loads(done.stdout)
    assert (value["ref"], value["ignored"]) == ("own:v1", ["notes.txt"])
    assert sorted(value["files"]) == sorted(set(os.listdir(weights)) - {"notes.txt"})  # noqa: PTH208
    # The same files have the same digest on every machine.
    assert value["digest"] == store_of(base).tags()["own:v1"].digest
    assert "notes.txt" in done.stderr


def test_ls_and_inspect(base: Path) -> None:
    rows = json.loads(run_cli(["ls", "--json"], base / "home").stdout)
    assert [(row["ref"], row["kind"], row["files"]) for row in rows] == [("own:v1", "weights", 8)]
    assert run_cli(["ls"], base / "home").stdout.splitlines()[1].startswith("own:v1  weights")
    shown = json.loads(run_cli(["inspect", "own:v1", "--json"], base / "home").stdout)
    assert shown["digest"] == rows[0]["digest"]
    assert {f["path"]: f["size_bytes"] for f in shown["files"]}["mel_stats.pth"] == 1067
    assert "model.pth" in run_cli(["inspect", "own:v1"], base / "home").stdout


def test_tag_and_rm(used: Path) -> None:
    home, digest = used / "home", store_of(used).tags()["own:v1"].digest
    assert run_cli(["tag", "own:v1", "best:v1"], home).stdout == f"best:v1@{digest}\n"
    assert run_cli(["tag", f"own@{digest}", "own:v2"], home).code == 0
    assert run_cli(["rm", "own:v1"], home).stdout == f"own:v1@{digest}\n"
    assert list(store_of(used).tags()) == ["best:v1", "own:v2"]
    other = make_small_set(used / "other", seed=2)
    assert run_cli(["add", "other:v1", other], home).code == 0
    fails(run_cli(["tag", "other:v1", "best:v1"], home), 2, "exists already")
    assert run_cli(["tag", "--force", "other:v1", "best:v1"], home).code == 0
    assert store_of(used).tags()["best:v1"].digest != digest
    fails(run_cli(["rm", f"best:v1@{digest}"], home), 3, "by now")


def test_gc(used: Path) -> None:
    home = used / "home"
    assert run_cli(["rm", "own:v1"], home).code == 0
    said = run_cli(["gc", "--dry-run", "--json"], home)
    assert len(json.loads(said.stdout)["blobs"]) == 10
    fails(run_cli(["gc"], home), 2, "wants a yes")  # no terminal: it does not ask
    assert len(list(store_of(used).blob_digests())) == 10
    done = run_cli(["gc", "--yes"], home)
    assert done.code == 0
    assert len([line for line in done.stdout.splitlines() if line.startswith("sha256:")]) == 10
    assert list(store_of(used).blob_digests()) == []
    assert run_cli(["gc", "--dry-run"], home).stdout == ""


def test_verify(used: Path) -> None:
    home = used / "home"
    assert run_cli(["verify"], home).code == 0
    assert json.loads(run_cli(["verify", "own:v1", "--json"], home).stdout)["problems"] == []
    damage(blob_file(store_of(used), "dvae.pth"), 5)
    blob_file(store_of(used), "vocab.json").unlink()
    done = run_cli(["verify", "--no-cache", "--json"], home)
    assert (done.code, "2 of" in done.error, bool(done.hint)) == (4, True, True)
    problems = {p["what"]: (p["reason"], p["refs"]) for p in json.loads(done.stdout)["problems"]}
    assert problems == {
        "dvae.pth": ("damaged", ["own:v1"]),
        "vocab.json": ("missing", ["own:v1"]),
    }
    # What the hint says works: what is wrong is replaced.
    assert run_cli(["import", used / "stick"], home).code == 0
    assert run_cli(["verify", "--no-cache"], home).code == 0


def test_checkout(used: Path) -> None:
    done = run_cli(["checkout", "own:v1", used / "view"], used / "home")
    assert done.stdout == f"{used / 'view'}\n"
    assert tree(used / "view") == tree(used / "weights")
    fails(run_cli(["checkout", "own:v1", used / "view"], used / "home"), 2, "not empty")


def test_bundle_and_import(used: Path) -> None:
    again = run_cli(["bundle", "own:v1", "-o", used / "stick", "--json"], used / "home")
    value = json.loads(again.stdout)
    assert value["written_bytes"] == 0
    assert value["bundle"]["refs"][0]["ref"] == "own:v1"
    done = run_cli(["import", used / "stick", "--json"], used / "home2")
    brought = json.loads(done.stdout)
    assert brought["refs"] == [f"own:v1@{store_of(used).tags()['own:v1'].digest}"]
    assert brought["bundle_id"] == value["bundle"]["bundle_id"]
    assert run_cli(["verify", "--no-cache"], used / "home2").code == 0


def test_a_recipe_says_what_and_where(used: Path) -> None:
    (used / "r.toml").write_text('name = "r"\nmodels = ["own:v1"]\noutput = "out/r"\n')
    done = run_cli(["bundle", "r.toml"], used / "home", cwd=used)
    assert done.stdout == "out/r\n"
    assert (used / "out" / "r" / "SHA256SUMS").is_file()
    (used / "r.toml").write_text('name = "r"\nmodels = ["own:v1"]\n')
    fails(run_cli(["bundle", "r.toml"], used / "home", cwd=used), 2, "where to")


def test_another_store(base: Path, home: Path, weights: Path, tmp_path: Path) -> None:
    assert run_cli(["--store", tmp_path / "s", "add", "own:v1", weights], home).code == 0
    assert "own:v1" in run_cli(["ls", "--store", tmp_path / "s"], home).stdout
    assert not home.exists()


def test_a_pipe_that_closes_is_no_error(base: Path, home: Path) -> None:
    process = start_cli(["catalog", "show", "xtts_v2"], home)
    assert process.stdout
    process.stdout.close()
    assert process.stderr
    assert process.wait(60) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


# --- bad input ----------------------------------------------------------------------------------

UNKNOWN = {
    "ls of no store": (["ls", "--store", "nowhere"], 5, "no store"),
    "fetch": (["fetch", "nope"], 3, "nope:main"),
    "fetch of a tag": (["fetch", "xtts_v2:v9"], 3, "xtts_v2:v9"),
    "catalog show": (["catalog", "show", "nope"], 3, "nope:main"),
    "inspect": (["inspect", "nope:v1"], 3, "nope:v1"),
    "inspect of a tag": (["inspect", "own:v9"], 3, "own:v9"),
    "inspect of a digest": (["inspect", "own@sha256:" + "0" * 64], 3, "0000"),
    "checkout": (["checkout", "nope", "view"], 3, "nope"),
    "tag": (["tag", "nope", "new"], 3, "nope"),
    "rm": (["rm", "nope"], 3, "nope"),
    "verify": (["verify", "nope"], 3, "nope"),
    "bundle": (["bundle", "nope:v1", "-o", "new"], 3, "nope:v1"),
    "a name in capitals": (["inspect", "Own:v1"], 2, "not a reference"),
    "a digest that is none": (["inspect", "own@sha256:12"], 2, "not a digest"),
    "add with a digest": (["add", "own@sha256:" + "0" * 64, "weights"], 2, "digest"),
    "tag with a digest": (["tag", "own:v1", "x@sha256:" + "0" * 64], 2, "digest"),
    "add of no directory": (["add", "x:v1", "nowhere"], 2, "not a directory"),
    "add of other files": (["add", "x:v1", "stick"], 2, "no model.pth"),
    "import of nothing": (["import", "nowhere"], 2, "nowhere"),
    "import of a directory": (["import", "weights"], 2, "no bundle here"),
    "import of a file": (["import", "catalog/small.toml"], 2, "not a directory"),
    "import of a store": (["import", "home/store"], 2, "no bundle here"),
    "bundle without a place": (["bundle", "own:v1"], 2, "where to"),
    "bundle into other things": (["bundle", "own:v1", "-o", "weights"], 2, "other things"),
    "bundle into a store": (["bundle", "own:v1", "-o", "home/store"], 2, "is a store"),
    "bundle of no recipe": (["bundle", "none.toml", "-o", "new"], 2, "none.toml"),
    "catalogue that is not there": (["catalog", "ls", "--catalog", "none"], 2, "none"),
    "checkout over a file": (["checkout", "own:v1", "catalog/small.toml"], 2, "is a file"),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_bad_names_and_places(base: Path, what: str) -> None:
    args, code, says = UNKNOWN[what]
    before = tree(base)
    fresh = what in ("ls of no store", "fetch", "import of nothing")
    fails(run_cli(args, base / "home", cwd=base, fresh=fresh), code, says)
    assert tree(base) == before


def test_a_usage_error_is_2(home: Path) -> None:
    for args in (["nope"], ["fetch"], ["ls", "--nope"], ["fetch", "x", "--from", "nowhere"]):
        done = run_cli(args, home)
        assert (done.code, done.stdout) == (2, "")
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name = ", "not valid TOML"),
        ('name = "x"\nmodels = ["own:v1"]\nnmae = 1\n', "nmae"),
        ('name = "x"\nmodels = []\n', "models"),
        ('name = "x"\nmodels = ["Not A Name"]\n', "models"),
        ('name = "../x"\nmodels = ["own:v1"]\n', "name"),
        ("", "name"),
        ("\x00", "not valid TOML"),
    ],
)
def test_a_recipe_that_is_wrong(base: Path, tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "r.toml").write_text(text)
    done = run_cli(["bundle", tmp_path / "r.toml", "-o", tmp_path / "out"], base / "home")
    assert "r.toml" in fails(done, 2, says).error
    assert not (tmp_path / "out").exists()


def test_a_catalogue_that_is_wrong_names_file_and_field(used: Path) -> None:
    path = used / "catalog" / "small.toml"
    text = path.read_text()
    for old, new, says in [
        ('name = "small"', "name = small", "not valid TOML"),
        ("[license]", "[license]\nurl = 1", "url"),
        ('sha256 = "', 'sha256 = "0', "sha256"),
    ]:
        path.write_text(text.replace(old, new, 1))
        done = run_cli(["catalog", "ls", "--catalog", used / "catalog"], used / "home")
        assert "small.toml" in fails(done, 2, says).error


@pytest.mark.parametrize("how", ["longer", "shorter", "different", "missing"])
def test_add_checks_a_catalogued_set_against_its_pins(used: Path, how: str) -> None:
    path = used / "weights" / "dvae.pth"
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        others = {"longer": data + b"x", "shorter": data[:-1], "different": data[::-1]}
        path.write_bytes(others[how])
    before = tree(used / "home")
    args = ["add", "small", used / "weights", "--catalog", used / "catalog", "--accept-license"]
    home = used / "fresh"
    done = fails(run_cli(args, home), 3 if how == "missing" else 4, "dvae.pth")
    assert ("small:main" if how == "missing" else "in no catalogue") in done.stderr
    assert not (home / "store").exists()
    assert tree(used / "home") == before


def test_terms_are_never_accepted_silently_and_never_wait(used: Path) -> None:
    args = ["add", "small", used / "weights", "--catalog", used / "catalog"]
    home = used / "fresh"
    done = fails(run_cli(args, home, timeout_s=30), 2, "not been accepted")
    assert "--accept-license" in done.hint
    for line in ("Small Licence", "Be kind.", "Be brief."):
        assert line in done.stderr
    assert not (home / "store").exists()
    for value in ("0", "", "yes"):
        assert run_cli(args, home, COQUI_TOS_AGREED=value).code == 2
    assert run_cli(args, home, COQUI_TOS_AGREED="1", XTTSREG_USER="ada").code == 0
    shown = json.loads(run_cli(["inspect", "small", "--json"], home).stdout)
    assert shown["license"]["accepted_by"] == "ada"
    assert shown["license"]["accepted_how"] == "COQUI_TOS_AGREED"
    # The yes is in the store now, and goes along with the bundle.
    stick = used / "stick2"
    assert run_cli(["bundle", "small", "-o", stick], home).code == 0
    assert run_cli(["import", stick], used / "third").code == 0
    shown = json.loads(run_cli(["inspect", "small", "--json"], used / "third").stdout)
    assert shown["license"]["accepted_by"] == "ada"


def test_a_bundle_of_unaccepted_terms_is_not_made(used: Path) -> None:
    catalog = ["--catalog", used / "catalog"]
    args = ["fetch", "small", *catalog]
    fails(run_cli(args, used / "fresh"), 2, "not been accepted")
    args = ["bundle", "small", "-o", used / "out", *catalog]
    fails(run_cli(args, used / "fresh"), 2, "not been accepted")
    assert not (used / "out").exists()


@pytest.mark.parametrize("how", ["bit", "missing", "extra", "short", "newer"])
def test_a_bad_bundle(used: Path, how: str) -> None:
    stick, blob = used / "stick", used / "stick" / "blobs" / "sha256"
    name = blob_file(store_of(used), "model.pth").name
    code = 4
    if how == "bit":
        damage(blob / name, 1234, 6)
    elif how == "missing":
        (blob / name).unlink()
    elif how == "extra":
        name = "stowaway"
        (stick / name).write_text("x")
    elif how == "short":
        os.truncate(blob / name, 100)
    else:
        name, code = "version 99", 2
        listing, sums = stick / "bundle.json", stick / "SHA256SUMS"
        before_hex = hashlib.sha256(listing.read_bytes()).hexdigest()
        text = listing.read_text()
        listing.write_text(text.replace('"format_version":2', '"format_version":99'))
        after_hex = hashlib.sha256(listing.read_bytes()).hexdigest()
        sums.write_text(sums.read_text().replace(before_hex, after_hex))
    home = used / "second"
    assert run_cli(["add", "mine:v1", make_small_set(used / "m", seed=3)], home).code == 0
    before = tree(home / "store")
    fails(run_cli(["import", stick], home), code, name)
    assert tree(home / "store") == before


# --- disks --------------------------------------------------------------------------------------


def test_a_read_only_store_is_said(used: Path) -> None:
    home = used / "home"
    with read_only(home):
        for args in (
            ["add", "x:v1", used / "weights"],
            ["import", used / "stick"],
            ["tag", "own:v1", "x:v1"],
            ["rm", "own:v1"],
            ["gc", "--yes"],
        ):
            done = fails(run_cli(args, home), 5, str(home))
            assert "--store" in done.hint
        # Reading works: from it one can verify, check out and bundle.
        assert run_cli(["verify", "--no-cache"], home).code == 0
        assert run_cli(["checkout", "own:v1", used / "view"], home).code == 0
        assert run_cli(["bundle", "own:v1", "-o", used / "out"], home).code == 0


def test_a_read_only_stick_can_be_imported(used: Path) -> None:
    with read_only(used / "stick"):
        assert run_cli(["import", used / "stick"], used / "second").code == 0
        bundle = ["bundle", "own:v1", "-o", used / "stick"]
        assert run_cli(bundle, used / "home").code == 0, "there is nothing to write"
    (used / "stick" / "README.txt").unlink()
    with read_only(used / "stick"):
        fails(run_cli(bundle, used / "home"), 5, "Read-only")


@pytest.mark.parametrize("verb", ["add", "import", "bundle", "checkout"])
def test_no_space_left(used: Path, verb: str) -> None:
    with mounted(used / "tiny", "-t", "tmpfs", "-o", "size=160k", "tmpfs") as tiny:
        home = tiny if verb in ("add", "import") else used / "home"
        args = {
            "add": ["add", "x:v1", used / "weights"],
            "import": ["import", used / "stick"],
            "bundle": ["bundle", "own:v1", "-o", tiny / "stick"],
            "checkout": ["checkout", "own:v1", tiny / "view"],
        }[verb]
        fails(run_cli(args, home, cwd=used), 5, "bytes are needed")
        if verb == "import":
            assert not (tiny / "store").exists(), "it is known before the first byte"
        elif verb == "add":
            store = LayoutStore.open_existing(tiny / "store")
            assert list(store.blob_digests()) == []
            assert dict(store.tags()) == {}
        else:
            assert not (tiny / "stick" / "SHA256SUMS").exists()
            assert not (tiny / "view").exists()


def test_a_home_that_is_a_file(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "home").write_text("x")
    fails(run_cli(["add", "x:v1", weights], tmp_path / "home"), 5, "home")


# --- Ctrl-C and --debug -------------------------------------------------------------------------


def test_debug_shows_the_traceback(home: Path) -> None:
    done = run_cli(["fetch", "nope", "--debug"], home, fresh=True)
    assert done.code == 3
    assert "Traceback" in done.stderr
    assert done.error


def test_ctrl_c_stops_a_download_at_once(used: Path) -> None:
    make_small_set(used / "weights", model_pth=8_000_000)
    with Hub(used / "weights", repo=REPO, revision=REVISION) as hub:
        hub.inject(Fault(pause_s=0.4), file="model.pth", stage="lfs", times=9)
        catalog = catalog_for(used / "slow", used / "weights", hub.url, name="slow")
        process = start_cli(["fetch", "slow", "--catalog", catalog], used / "fresh")
        partial = used / "fresh" / "store" / ".xttsreg" / "partial"
        deadline = time.monotonic() + 30
        while largest(partial) <= 300_000:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out) == (130, "")
        assert "error: interrupted" in err
        assert "Traceback" not in err
        # It did not wait for the file: most of it is still to come.
        assert 300_000 < largest(partial) < 6_000_000


def test_a_dataset_is_no_weight_set(home: Path, weights: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    (corpus / "wavs").mkdir(parents=True)
    (corpus / "wavs" / "1.wav").write_bytes(b"RIFF")
    (corpus / "metadata.csv").write_text("1|a|a\n")
    (corpus / "LICENCE.txt").write_text("take it")
    (corpus / ".git").mkdir()
    done = run_cli(["add", "corpus:v1", corpus, "--dataset", "--json"], home)
    assert done.code == 0, done.stderr
    assert "left out, hidden: .git" in done.stderr
    added = json.loads(done.stdout)
    assert (added["kind"], added["files"], added["hidden"]) == ("dataset", 3, [".git"])
    assert run_cli(["add", "own:v1", weights], home).code == 0
    rows = json.loads(run_cli(["ls", "--json"], home).stdout)
    assert [(row["ref"], row["kind"], row["files"]) for row in rows] == [
        ("corpus:v1", "dataset", 3),
        ("own:v1", "weights", 8),
    ]
    shown = json.loads(run_cli(["inspect", "corpus:v1", "--json"], home).stdout)
    assert (shown["kind"], len(shown["files"]), shown["digest"]) == ("dataset", 3, added["digest"])
    for verb in (["export", "corpus:v1", tmp_path / "x"],
                 ["synth", "corpus:v1", "--text", "a", "--language", "en", "-o", "x.wav"],
                 ["exec", "--model", "corpus:v1", "--", "true"]):  # fmt: skip
        refused = run_cli(verb, home)
        assert (refused.code, refused.error) == (
            2, "corpus:v1: is a dataset, and a weight set or a voice is needed here")  # fmt: skip
        assert "train --dataset corpus:v1" in refused.hint
    assert "weights: own:v1" in run_cli(["exec", "--", "true"], home).stderr  # the only one
    stick, other, recipe = tmp_path / "stick", tmp_path / "other", tmp_path / "r.toml"
    recipe.write_text('name = "r"\nmodels = ["own:v1"]\n[[datasets]]\nref = "corpus:v1"\n'
                      '[[datasets]]\nref = "again:v1"\ndirectory = "corpus"\n')  # fmt: skip
    assert run_cli(["bundle", recipe, "-o", stick], home).code == 0
    assert {path.name: path.read_text() for path in (stick / "licenses").glob("*LICENCE*")} == {
        "corpus-v1-LICENCE.txt": "take it", "again-v1-LICENCE.txt": "take it"}  # fmt: skip
    (corpus / "more").touch()
    changed = run_cli(["bundle", recipe, "-o", stick], home)
    assert (changed.code, "again:v1: exists already" in changed.error) == (2, True)
    (corpus / "more").unlink()
    assert run_cli(["import", stick], other).code == 0
    assert run_cli(["tag", "corpus:v1", "corpus:new"], other).code == 0
    assert run_cli(["rm", "corpus:v1"], other).code == 0
    assert run_cli(["gc", "--yes"], other).code == 0
    assert run_cli(["verify", "--no-cache"], other).code == 0
    assert run_cli(["checkout", "corpus:new", tmp_path / "out"], other).code == 0
    (corpus / ".git").rmdir()
    assert tree(tmp_path / "out") == tree(corpus)
