"""``xttsreg fetch`` from a real HTTP server, against what networks and neighbours do to it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import (
    REPO,
    REVISION,
    ROOT,
    SIZES,
    Ran,
    catalog_for,
    clean_environment,
    damage,
    leftovers,
    make_small_set,
    mounted,
    pinned,
    run_cli,
    start_cli,
    tree,
)

from xttsreg.demo.hub import Fault, Hub
from xttsreg.ops.verify import verify
from xttsreg.stores.layout import LayoutStore

BIG_BYTES = 3_000_000


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """What the hub has: one file is large enough to be interrupted."""
    return make_small_set(tmp_path / "served", model_pth=BIG_BYTES)


@pytest.fixture
def hub(served: Path) -> Iterator[Hub]:
    with Hub(served, repo=REPO, revision=REVISION, other_host=True) as hub:
        yield hub


@pytest.fixture
def catalog(tmp_path: Path, served: Path, hub: Hub) -> Path:
    return catalog_for(tmp_path / "catalog", served, hub.url)


def fetch(catalog: Path, home: Path, *args: object, **env: str) -> Ran:
    return run_cli(["fetch", "small", "--catalog", catalog, *args], home, **env)


def store_of(home: Path) -> LayoutStore:
    return LayoutStore.open_existing(home / "store")


def bodies(hub: Hub) -> Counter[str]:
    """How often the bytes of each file were asked for."""
    return Counter(
        r.file
        for r in hub.requests
        if r.method == "GET" and (r.stage == "lfs" or not r.file.endswith(".pth"))
    )


def assert_complete(home: Path, catalog: Path) -> None:
    store = store_of(home)
    assert store.tags()["small:main"].digest == pinned(catalog).model()[1].describe().digest
    assert verify(store, store.entries(), use_cache=False).problems == []
    assert leftovers(store) == []


def test_all_files_come_and_a_second_fetch_asks_for_nothing(
    hub: Hub, catalog: Path, served: Path, home: Path, tmp_path: Path
) -> None:
    value = json.loads(fetch(catalog, home, "--json").stdout)
    assert sorted(value["fetched"]) == sorted(SIZES)
    assert value["digest"] == pinned(catalog).model()[1].describe().digest
    assert_complete(home, catalog)
    assert set(bodies(hub).values()) == {1}
    hub.requests.clear()
    again = json.loads(fetch(catalog, home, "--json").stdout)
    assert (again["fetched"], sorted(again["present"])) == ([], sorted(SIZES))
    assert hub.requests == []
    run_cli(["checkout", "small", tmp_path / "view"], home)
    assert tree(tmp_path / "view") == tree(served)


def test_only_what_is_missing_or_damaged_comes_again(hub: Hub, catalog: Path, home: Path) -> None:
    fetch(catalog, home)
    files = pinned(catalog).model()[1].files()
    store_of(home).blob_path(files["dvae.pth"].digest).unlink()
    damage(store_of(home).blob_path(files["vocab.json"].digest))
    hub.requests.clear()
    value = json.loads(fetch(catalog, home, "--json").stdout)
    assert sorted(value["fetched"]) == ["dvae.pth", "vocab.json"]
    assert set(bodies(hub)) == {"dvae.pth", "vocab.json"}
    assert_complete(home, catalog)


def test_files_that_are_there_already_are_taken_if_they_are_right(
    hub: Hub, catalog: Path, served: Path, home: Path, tmp_path: Path
) -> None:
    shutil.copytree(served, tmp_path / "cache")
    damage(tmp_path / "cache" / "dvae.pth", 8)
    (tmp_path / "cache" / "vocab.json").unlink()
    value = json.loads(fetch(catalog, home, "--from", tmp_path / "cache", "--json").stdout)
    assert sorted(value["fetched"]) == ["dvae.pth", "vocab.json"]
    assert len(value["taken"]) == len(SIZES) - 2
    assert_complete(home, catalog)


# --- interrupted --------------------------------------------------------------------------------


def wait_for(what: object, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 30
    while not what():  # type: ignore[operator]
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_process_is_continued_with_a_range(hub: Hub, catalog: Path, home: Path) -> None:
    hub.inject(Fault(pause_s=0.3), file="model.pth", stage="lfs")
    process = start_cli(["fetch", "small", "--catalog", catalog], home)
    model = pinned(catalog).file("model.pth")
    assert model
    partial = home / "store" / ".xttsreg" / "partial" / model.sha256
    wait_for(lambda: partial.exists() and partial.stat().st_size > 300_000, process)
    process.kill()
    process.communicate()
    had_bytes = partial.stat().st_size
    assert 0 < had_bytes < BIG_BYTES
    store = store_of(home)
    assert dict(store.tags()) == {}
    for digest in store.blob_digests():  # what has a name is right, also now
        assert digest.hex != model.sha256

    hub.requests.clear()
    done = fetch(catalog, home, "--json")
    assert done.code == 0, done.stderr
    ranges = [r.range for r in hub.requests if r.stage == "lfs" and r.file == "model.pth"]
    assert ranges == [f"bytes={had_bytes}-"]
    assert_complete(home, catalog)


def test_a_dropped_connection_is_continued(hub: Hub, catalog: Path, home: Path) -> None:
    hub.inject(Fault(drop_after_bytes=1_000_000), file="model.pth", stage="lfs")
    assert fetch(catalog, home).code == 0
    ranges = [r.range for r in hub.requests if r.stage == "lfs" and r.file == "model.pth"]
    assert ranges == [None, "bytes=1000000-"]
    assert_complete(home, catalog)


def test_two_processes_at_once_fetch_each_file_once(hub: Hub, catalog: Path, home: Path) -> None:
    hub.inject(Fault(pause_s=0.1), file="model.pth", stage="lfs")
    args = ["fetch", "small", "--catalog", catalog, "--json"]
    both = [start_cli(args, home) for _ in range(2)]
    answers = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    assert bodies(hub) == Counter(dict.fromkeys(SIZES, 1))
    fetched = [path for out, _ in answers for path in json.loads(out)["fetched"]]
    assert sorted(fetched) == sorted(SIZES)
    assert_complete(home, catalog)


def test_one_of_two_is_killed_and_the_other_goes_on(hub: Hub, catalog: Path, home: Path) -> None:
    hub.inject(Fault(pause_s=0.3), file="model.pth", stage="lfs")
    args = ["fetch", "small", "--catalog", catalog]
    model = pinned(catalog).file("model.pth")
    assert model
    first = start_cli(args, home)
    partial = home / "store" / ".xttsreg" / "partial" / model.sha256
    wait_for(lambda: partial.exists() and partial.stat().st_size > 300_000, first)
    second = start_cli(args, home)
    wait_for(lambda: len(list((home / "store/.xttsreg/leases").glob("*.lock"))) == 2, second)
    first.kill()
    first.communicate()
    _, err = second.communicate(timeout=60)
    assert second.returncode == 0, err
    ranges = [r.range for r in hub.requests if r.stage == "lfs" and r.file == "model.pth"]
    assert len(ranges) == 2
    assert str(ranges[1]).startswith("bytes=")
    assert_complete(home, catalog)


# --- sources that have other things -------------------------------------------------------------

WRONG = {
    "404": (Fault(status=404), 6),
    "403": (Fault(status=403), 6),
    "410": (Fault(status=410), 6),
    "a page": (Fault(body=b"<html>Log in</html>", content_type="text/html; charset=utf-8"), 6),
    "a page of the right length": (Fault(body=b"<" * 3000, content_type="text/html"), 6),
    "short": (Fault(body=b"x" * 2999), 4),
    "long": (Fault(body=b"x" * 3001), 4),
    "short without a length": (Fault(body=b"x" * 10, chunked=True), 4),
    "long without a length": (Fault(body=b"x" * 5000, chunked=True), 4),
    "other bytes": (Fault(body=b"x" * 3000), 4),
    "empty": (Fault(body=b""), 4),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_answer_is_never_stored(hub: Hub, catalog: Path, home: Path, what: str) -> None:
    fault, code = WRONG[what]
    hub.faults = lambda request: fault if request.file == "vocab.json" else None
    done = fetch(catalog, home)
    assert done.code == code, done.stderr
    assert "vocab.json" in done.error
    assert done.hint
    vocab = pinned(catalog).file("vocab.json")
    assert vocab
    store = store_of(home)
    assert vocab.sha256 not in {digest.hex for digest in store.blob_digests()}
    assert dict(store.tags()) == {}
    pins = {file.sha256 for file in pinned(catalog).files}
    assert {digest.hex for digest in store.blob_digests()} <= pins
    # Nothing wrong is left to build on: the same command works once the source is well again.
    hub.faults = None
    assert fetch(catalog, home).code == 0
    assert_complete(home, catalog)


def test_500_is_tried_again_and_then_given_up(hub: Hub, catalog: Path, home: Path) -> None:
    fault = Fault(status=500, retry_after="0")
    hub.inject(fault, file="vocab.json", times=2)
    assert fetch(catalog, home).code == 0
    shutil.rmtree(home)
    hub.inject(fault, file="vocab.json", times=99)
    done = fetch(catalog, home)
    assert (done.code, "500" in done.error) == (6, True)
    assert dict(store_of(home).tags()) == {}


def test_the_hub_says_that_it_has_another_version(
    hub: Hub, catalog: Path, served: Path, home: Path
) -> None:
    damage(served / "model.pth", 99)
    done = fetch(catalog, home)
    assert done.code == 4, done.stderr
    assert "model.pth" in done.error
    assert [r for r in hub.requests if r.stage == "lfs" and r.file == "model.pth"] == []


def test_falls_back_to_the_next_source(hub: Hub, served: Path, home: Path, tmp_path: Path) -> None:
    shutil.copytree(served, tmp_path / "mirror")
    with Hub(tmp_path / "mirror", repo=REPO, revision=REVISION) as mirror:
        catalog = catalog_for(tmp_path / "two", served, hub.url, mirror.url)
        hub.inject(Fault(status=404), file="config.json", times=9)
        hub.inject(Fault(body=b"x" * 3000), file="vocab.json", times=9)
        hub.inject(Fault(status=503, retry_after="0"), file="LICENSE.txt", times=99)
        hub.inject(Fault(body=b"<html>", content_type="text/html"), file="hash.md5", times=9)
        done = fetch(catalog, home)
        assert done.code == 0, done.stderr
        assert set(bodies(mirror)) == {"config.json", "vocab.json", "LICENSE.txt", "hash.md5"}
        assert_complete(home, catalog)


def test_a_mirror_named_by_hf_endpoint_is_used(hub: Hub, served: Path, home: Path) -> None:
    catalog = catalog_for(home.parent / "hf", served, "https://huggingface.co")
    done = fetch(catalog, home, HF_ENDPOINT=hub.url, HF_TOKEN="hf_do_not_tell")
    assert done.code == 0, done.stderr
    assert {r.authorized for r in hub.requests if r.stage == "resolve"} == {True}
    assert {r.authorized for r in hub.requests if r.stage == "lfs"} == {False}
    assert "do_not_tell" not in done.stdout + done.stderr


def test_no_space_is_known_before_the_first_byte(hub: Hub, catalog: Path, tmp_path: Path) -> None:
    with mounted(tmp_path / "tiny", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as tiny:
        done = fetch(catalog, tiny)
        assert (done.code, "bytes are needed" in done.error) == (5, True)
        assert hub.requests == []


def test_without_a_yes_nothing_is_fetched(
    hub: Hub, served: Path, home: Path, tmp_path: Path
) -> None:
    catalog = catalog_for(tmp_path / "terms", served, hub.url, required=True)
    assert fetch(catalog, home).code == 2
    assert hub.requests == []
    assert fetch(catalog, home, "--accept-license").code == 0
    assert fetch(catalog, home).code == 0  # the yes is in the store


def test_bundle_fetches_first_what_is_not_there(
    hub: Hub, catalog: Path, home: Path, tmp_path: Path
) -> None:
    args = ["bundle", "small", "-o", tmp_path / "stick", "--catalog", catalog]
    assert run_cli(args, home).code == 0
    hub.requests.clear()
    assert run_cli(["import", tmp_path / "stick"], tmp_path / "inside").code == 0
    assert hub.requests == []
    assert_complete(tmp_path / "inside", catalog)


# --- the installed wheel ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this checkout, built in a copy."""
    root = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    backend = root / "backend"
    got = subprocess.run(
        [*pip, "install", "--target", str(backend), "hatchling"], capture_output=True, text=True
    )
    if got.returncode:
        pytest.skip("hatchling is not to be had here (no package index)")
    for name in (
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "xttsreg",
        "registry",
        "bundles",
        "constraints",
    ):
        source = ROOT / name
        ignore = shutil.ignore_patterns("__pycache__", "out")
        if source.is_dir():
            shutil.copytree(source, root / "src" / name, ignore=ignore)
        else:
            (root / "src").mkdir(exist_ok=True)
            shutil.copy(source, root / "src" / name)
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(root), str(root / "src")],
        env={**os.environ, "PYTHONPATH": str(backend)},
        check=True,
        capture_output=True,
    )
    (built,) = root.glob("*.whl")
    return built


def test_the_wheel_has_catalogue_and_recipes(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("registry", "bundles"):
        for path in (ROOT / folder).glob("*.toml"):
            assert f"xttsreg/_data/{folder}/{path.name}" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith("tests")]


def test_the_installed_wheel_finds_its_catalogue(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install",
         "--no-deps", "--target", str(site), str(wheel)],
        check=True, capture_output=True,
    )  # fmt: skip
    environment = {**clean_environment(tmp_path / "home"), "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-m", "xttsreg", "catalog", "show", "xtts_v2", "--json"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert len(json.loads(done.stdout)["files"]) == 8
    where = subprocess.run(
        [sys.executable, "-c", "import xttsreg; print(xttsreg.__file__)"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert where.stdout.startswith(str(site))
