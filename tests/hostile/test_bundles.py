"""Bundles that were made to harm. Each is refused with an error and a hint, and changes nothing."""

from __future__ import annotations

import json
import os
import resource
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Ran, filled_store, leftovers, make_small_set, run_cli, tree

from hostile.forge import REF_NAME, Forger, digest_of
from xttsreg.ops.bundle import bundle
from xttsreg.stores.layout import LayoutStore

Forge = Callable[[Forger], object]
MEMORY_BYTES = 700 * 2**20  # what an import may take besides what this process has already
SECONDS = 20.0
ZEROS = "49bc20df15e412a64472421e13fe86ff1c5165e18b2afccf160d4dc19fe68a14"  # a gigabyte of them


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("honest")
    store = filled_store(root / "store", make_small_set(root / "w", model_pth=3000, dvae_pth=500))
    bundle(store, store.tags(), root / "stick")
    return root / "stick"


@pytest.fixture
def stick(honest: Path, tmp_path: Path) -> Path:
    return shutil.copytree(honest, tmp_path / "stick")


def attack(stick: Path, home: Path, *arguments: object) -> Ran:
    """Import it into a store that has something else; nothing may have changed around it."""
    store = filled_store(home / "store", make_small_set(home.parent / "mine", seed=9), ref="me:v1")
    before, around = tree(home), sorted(home.parent.iterdir())
    old = resource.getrlimit(resource.RLIMIT_AS)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY_BYTES, old[1]))
    try:
        done = run_cli(["import", stick, *arguments], home, timeout_s=SECONDS)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, old)
    assert done.code in (2, 3, 4), done.stderr
    assert done.error
    assert done.hint
    assert "Traceback" not in done.stderr
    assert max(map(len, done.stderr.splitlines())) < 1000  # no flood in the terminal
    assert (tree(home), sorted(home.parent.iterdir())) == (before, around)
    assert leftovers(store) == []
    return done


def named(path: str) -> Forge:
    return lambda f: f.set_manifest(lambda m: m["layers"].append(f.layer(path))).done()


def layers(*paths: str) -> Forge:
    def forge(f: Forger) -> None:
        more = [f.layer(path, path.encode() or b"x") for path in paths]
        f.set_manifest(lambda m: m["layers"].extend(more)).done()

    return forge


NAMES = {
    "above": "../../evil",
    "above, in the middle": "a/../../evil",
    "absolute": "/tmp/evil",
    "drive": "C:\\evil",
    "drive, relative": "C:evil",
    "share": "\\\\host\\share\\evil",
    "backslash": "a\\..\\..\\evil",
    "device": "CON",
    "device with a suffix": "aux.txt",
    "device in a directory": "COM1/x",
    "stream": "model.pth:evil",
    "trailing dot": "evil.",
    "trailing space": "evil ",
    "line feed": "a\nb",
    "nul": "a\0b",
    "escape": "a\x1b[2Jb",
    "only slashes": "//",
    "long": "x" * 5000,
    "two million directories": "a/" * 2_000_000 + "x",
    "not Unicode": "\ud800",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_name(name: str, stick: Path, tmp_path: Path) -> None:
    named(NAMES[name])(Forger(stick))
    attack(stick, tmp_path / "home")
    assert not [path for path in Path("/tmp").glob("evil*")]


@pytest.mark.parametrize(
    "paths",
    [("Wav/a", "wav/A"), ("a", "A"), ("a", "a"), ("a", "a/b"), ("caf\u00e9", "cafe\u0301")],
    ids=["folders by case", "case", "twice", "a file and a directory", "accents"],
)
def test_two_files_of_one_name(paths: tuple[str, str], stick: Path, tmp_path: Path) -> None:
    layers(*paths)(Forger(stick))
    attack(stick, tmp_path / "home")


def _replace_blob(make: Callable[[Path], object]) -> Forge:
    def forge(f: Forger) -> None:
        path = f.blob(f.manifest["layers"][0]["digest"])
        path.unlink()
        make(path)

    return forge


def _device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero, which never ends
    except PermissionError:
        pytest.skip("device files may not be made here")


def _deep_directory(f: Forger) -> None:
    here = os.open(f.stick, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


FILES: dict[str, Forge] = {
    "device": _replace_blob(_device),
    "pipe": _replace_blob(os.mkfifo),
    "link to a device": _replace_blob(lambda path: path.symlink_to("/dev/zero")),
    "link to a secret": _replace_blob(lambda path: path.symlink_to("/etc/shadow")),
    "directory": _replace_blob(lambda path: path.mkdir()),
    "link in the place of blobs": lambda f: (
        shutil.move(f.stick / "blobs", f.stick.parent / "blobs"),
        (f.stick / "blobs").symlink_to(f.stick.parent / "blobs"),
    ),
    "sums are a device": lambda f: (
        (f.stick / "SHA256SUMS").unlink(),
        (f.stick / "SHA256SUMS").symlink_to("/dev/zero"),
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file(name: str, stick: Path, tmp_path: Path) -> None:
    FILES[name](Forger(stick))
    attack(stick, tmp_path / "home")


def test_directories_without_end(stick: Path, tmp_path: Path) -> None:
    _deep_directory(Forger(stick))
    try:
        attack(stick, tmp_path / "home")
    finally:
        subprocess.run(["rm", "-rf", stick / "d"], check=True)  # others would recurse


DEEP = b'{"a":' * 200_000 + b"1" + b"}" * 200_000
TWICE = b'{"schemaVersion":2,"schemaVersion":2,'
DOCUMENTS: dict[str, Forge] = {
    "manifest: deep": lambda f: f.set_manifest(DEEP).done(),
    "manifest: as deep as can be": lambda f: f.set_manifest(
        lambda m: m.update(x=json.loads('{"a":' * 800 + "1" + "}" * 800))
    ).done(),
    "manifest: a key twice": lambda f: f.set_manifest(
        TWICE + json.dumps(f.manifest).encode()[1:]
    ).done(),
    "manifest: infinite": lambda f: f.set_manifest(
        b'{"x":1e999,' + json.dumps(f.manifest).encode()[1:]
    ).done(),
    "manifest: half a character": lambda f: f.set_manifest(
        b'{"x":"\\ud800",' + json.dumps(f.manifest).encode()[1:]
    ).done(),
    "manifest: a number of a million digits": lambda f: f.set_manifest(
        b'{"x":' + b"9" * 1_000_000 + b"," + json.dumps(f.manifest).encode()[1:]
    ).done(),
    "manifest: a list": lambda f: f.set_manifest(b"[]").done(),
    "manifest: not UTF-8": lambda f: f.set_manifest(b"\xff\xfe{}").done(),
    "manifest: another type": lambda f: f.set_manifest(
        lambda m: m.update(mediaType="application/vnd.oci.image.index.v1+json")
    ).done(),
    "index: deep": lambda f: f.set_index(DEEP).relist(),
    "index: infinite": lambda f: (f.entry.update(x=float("inf")), f.done()),
    "index: half a character": lambda f: (f.entry.update(x="\ud800"), f.done()),
    "index: a million entries": lambda f: f.set_index(
        b'{"schemaVersion":2,"manifests":[' + b",".join([b"{}"] * 1_000_000) + b"]}"
    ).relist(),
    "index: a name with an escape": lambda f: (
        f.entry["annotations"].update({REF_NAME: "a\x1b[2J:v1"}),
        f.done(),
    ),
    "listing: deep": lambda f: f.relist().set_listing(DEEP),
    "listing: a key twice": lambda f: f.relist().set_listing(
        b'{"volumes":1,' + json.dumps(f.listing).encode()[1:]
    ),
    "listing: many volumes": lambda f: f.relist(volumes=9999),
    "listing: many volumes, many files": lambda f: f.relist(
        volumes=9999,
        files=[
            {"path": f"x/{n}", "size_bytes": 1, "digest": digest_of(b""), "volume": n % 9999 + 1}
            for n in range(150_000)
        ],
    ),
    "listing: a million names": lambda f: f.relist(
        refs=[{"ref": f"a:v{n}", "digest": f.entry["digest"]} for n in range(300_000)]
    ),
    "listing: a name that is a path": lambda f: f.relist(
        refs=[{"ref": "../../evil:v1", "digest": f.entry["digest"]}]
    ),
    "listing: a path twice": lambda f: f.relist().relist(files=f.listing["files"] * 2),
    "listing: another algorithm": lambda f: f.relist(
        refs=[{"ref": "own:v1", "digest": "sha512:" + "0" * 128}]
    ),
    "listing: a digest that is a path": lambda f: f.relist(
        refs=[{"ref": "own:v1", "digest": "sha256:../../../etc/passwd"}]
    ),
    "sums: a million lines": lambda f: (f.stick / "SHA256SUMS").write_bytes(
        b"".join(b"%064x  x/%d\n" % (n, n) for n in range(1_000_000))
    ),
    "sums: one line of 60 MB": lambda f: (f.stick / "SHA256SUMS").write_bytes(
        b"0" * 64 + b"  " + b"a/" * 30_000_000
    ),
    "layer: another algorithm": lambda f: f.set_manifest(
        lambda m: m["layers"][0].update(digest="sha512:" + "0" * 128)
    ).done(),
    "layer: no algorithm": lambda f: f.set_manifest(
        lambda m: m["layers"][0].update(digest="0" * 64)
    ).done(),
    "layer: a digest that is a path": lambda f: f.set_manifest(
        lambda m: m["layers"][0].update(digest="sha256:../../index.json")
    ).done(),
    "layer: capital letters": lambda f: f.set_manifest(
        lambda m: m["layers"][0].update(digest=m["layers"][0]["digest"].upper())
    ).done(),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document(name: str, stick: Path, tmp_path: Path) -> None:
    DOCUMENTS[name](Forger(stick))
    attack(stick, tmp_path / "home")


@pytest.mark.parametrize(
    "size", [-1, 0, 1, 2**63, 1e3, "3000", True, None, 10**30], ids=lambda size: f"size {size}"
)
def test_a_size_that_lies(size: object, stick: Path, tmp_path: Path) -> None:
    forger = Forger(stick)
    forger.set_manifest(lambda m: m["layers"][0].update(size=size)).done()
    attack(stick, tmp_path / "home")


@pytest.mark.parametrize("what", ["manifest", "listing", "index", "readme", "sums", "signature"])
def test_a_gigabyte(what: str, stick: Path, tmp_path: Path) -> None:
    """Listed as it is, where it can be; without a gigabyte of memory."""
    forger = Forger(stick)
    path = stick / {
        "manifest": "new", "listing": "bundle.json", "index": "index.json",
        "readme": "README.txt", "sums": "SHA256SUMS", "signature": "SHA256SUMS.sig",
    }[what]  # fmt: skip
    path.touch()
    os.truncate(path, 2**30)  # takes no room
    if what == "manifest":
        forger.entry |= {"size": 2**30, "digest": f"sha256:{ZEROS}"}
        forger.listing["refs"][0]["digest"] = forger.entry["digest"]
        path = path.rename(forger.blob(forger.entry["digest"]))
        forger.set_index()
    forger.known[path.relative_to(stick).as_posix()] = ZEROS
    if what in ("manifest", "index", "readme"):
        forger.relist()
    attack(stick, tmp_path / "home")


def test_and_without_all_that_it_comes_in(stick: Path, tmp_path: Path) -> None:
    Forger(stick).set_manifest(lambda m: m.update(x="y")).done()
    assert run_cli(["import", stick], tmp_path / "home").code == 0
    assert "own:v1" in LayoutStore.open_existing(tmp_path / "home" / "store").tags()
