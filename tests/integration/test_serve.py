"""``serve`` as a process: what unmodified clients get from it, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import (
    REPO,
    REVISION,
    blob_file,
    catalog_for,
    clean_environment,
    damage,
    filled_store,
    make_small_set,
    run_cli,
    sha256_of,
)
from support.registry import Registry, needs_registry
from support.serving import Served

from xttsreg.catalog import Catalog
from xttsreg.content.digest import Digest
from xttsreg.content.reference import Reference
from xttsreg.errors import RemoteError, XttsregError
from xttsreg.ops import licensing
from xttsreg.ops.add import add
from xttsreg.ops.datasets import add_dataset
from xttsreg.ops.environment.tools import Tools
from xttsreg.ops.fetch import fetch
from xttsreg.ops.registry import pull
from xttsreg.remote.address import Address
from xttsreg.stores.layout import LayoutStore

BIG_BYTES = 12_000_000
pytest.importorskip("aiohttp")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a pinned set, a set of one's own and a dataset; and a catalogue."""
    root = tmp_path_factory.mktemp("served")
    weights = make_small_set(root / "weights", model_pth=BIG_BYTES)
    store = filled_store(root / "home" / "store", weights)
    pins = catalog_for(root / "catalog", weights, "https://huggingface.co", required=True)
    catalog = Catalog.load(pins)
    add(store, Reference.parse("small:main"), weights, catalog, ask=lambda _: "test")
    corpus = root / "corpus"
    (corpus / "wavs" / "a b").mkdir(parents=True)
    (corpus / "wavs" / "a b" / "ü.wav").write_bytes(b"RIFF" * 100)
    (corpus / "metadata.csv").write_text("1|a|a\n")
    add_dataset(store, Reference.parse("team/corpus:v1"), corpus, Catalog([]))
    return root


@pytest.fixture(scope="module")
def served(place: Path) -> Iterator[Served]:
    with Served(place / "home", "--catalog", place / "catalog") as running:
        yield running


# --- the hub's surface ---------------------------------------------------------------------------


def test_a_large_file_as_the_hub_sends_it(served: Served, place: Path) -> None:
    path, digest = f"/{REPO}/resolve/main/model.pth", sha256_of(place / "weights" / "model.pth")
    head, got = served.head(path), served.get(path)
    assert (head.status, head.body, got.status) == (200, b"", 200)
    assert hashlib.sha256(got.body).hexdigest() == digest
    for answer in (head, got):
        assert answer.headers["ETag"] == answer.headers["X-Linked-ETag"] == f'"{digest}"'
        assert answer.headers["X-Linked-Size"] == str(BIG_BYTES)
        assert answer.headers["Content-Length"] == str(BIG_BYTES)
        assert answer.headers["X-Repo-Commit"] == REVISION
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert not [name for name in answer.headers if name.lower().startswith("x-xet")]
        assert "Content-Encoding" not in answer.headers


def test_a_small_file_has_the_id_that_git_gives(served: Served, place: Path) -> None:
    data = (place / "weights" / "config.json").read_bytes()
    got = served.get("/own/resolve/v1/config.json")
    blob_id = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    assert (got.body, got.headers["ETag"]) == (data, f'"{blob_id}"')
    assert "X-Linked-ETag" not in got.headers


def test_revisions(served: Served, place: Path) -> None:
    store = LayoutStore(place / "home" / "store")
    digest = store.tags()["own:v1"].digest
    for revision in ("v1", digest, digest.hex[:40], "refs%2Fheads%2Fv1"):
        status = served.head(f"/own/resolve/{revision}/hash.md5").status
        assert status == (400 if "%2F" in revision else 200)
    refused = served.head("/own/resolve/main/hash.md5")
    assert (refused.status, refused.headers["X-Error-Code"]) == (404, "RevisionNotFound")
    assert refused.headers["X-Error-Message"] == "own has no main; it has v1"
    assert served.head("/none/resolve/v1/x").headers["X-Error-Code"] == "RepoNotFound"
    absent = served.head("/own/resolve/v1/none.txt")
    assert absent.headers["X-Error-Code"] == "EntryNotFound"
    assert absent.headers["X-Repo-Commit"] == digest.hex[:40]
    # The name on the hub belongs to what the catalogue pins, and its commit as well.
    assert served.get(f"/api/models/{REPO}").json["sha"] == REVISION
    assert served.get("/api/models/small").json["sha"] == REVISION
    refs = served.get("/api/models/own/refs").json
    assert refs["tags"] == [{"name": "v1", "ref": "refs/tags/v1", "targetCommit": digest.hex[:40]}]


def test_info_and_tree(served: Served, place: Path) -> None:
    files = {p.name: p.stat().st_size for p in (place / "weights").iterdir()}
    info = served.get("/api/models/own/revision/v1?blobs=true").json
    assert {s["rfilename"]: s["size"] for s in info["siblings"]} == files
    model = next(s for s in info["siblings"] if s["rfilename"] == "model.pth")
    assert model["lfs"]["sha256"] == sha256_of(place / "weights" / "model.pth")
    flat = served.get("/api/datasets/team/corpus/tree/v1").json
    assert [(e["type"], e["path"]) for e in flat] == [
        ("file", "metadata.csv"),
        ("directory", "wavs"),
    ]
    deep = served.get("/api/datasets/team/corpus/tree/v1/wavs?recursive=True").json
    assert [e["path"] for e in deep] == ["wavs/a b", "wavs/a b/ü.wav"]
    wav = served.get("/datasets/team/corpus/resolve/v1/wavs/a%20b/%C3%BC.wav")
    assert (wav.body, wav.headers["Content-Type"]) == (b"RIFF" * 100, "audio/wav")
    assert {m["id"] for m in served.get("/api/models").json} == {"own", "small"}
    assert served.get("/api/datasets/team/corpus/tree/v1/none").status == 404


def test_ranges_and_conditions(served: Served, place: Path) -> None:
    path, data = "/own/resolve/v1/model.pth", (place / "weights" / "model.pth").read_bytes()
    etag = served.head(path).headers["ETag"]
    part = served.get(path, Range="bytes=1000-200999")
    assert (part.status, part.body) == (206, data[1000:201000])
    assert part.headers["Content-Range"] == f"bytes 1000-200999/{BIG_BYTES}"
    assert served.get(path, Range="bytes=-5").body == data[-5:]
    beyond = served.get(path, Range=f"bytes={BIG_BYTES}-")
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{BIG_BYTES}")
    many = served.get(path, Range="bytes=" + ",".join(f"{n}-{n}" for n in range(500)))
    assert (many.status, many.body) == (200, data)
    assert served.get(path, Range="bytes=5-", If_Range=etag).status == 206
    assert served.get(path, Range="bytes=5-", If_Range='"other"').status == 200
    for method in ("GET", "HEAD"):
        cached = served.get(path, method, If_None_Match=f'"other", W/{etag}')
        assert (cached.status, cached.body, cached.headers["ETag"]) == (304, b"", etag)
    assert served.get(path, If_Match='"other"').status == 412
    assert served.get(path, If_Match=etag, Range="bytes=0-0").status == 206


def test_curl_goes_on_where_it_stopped(served: Served, place: Path, tmp_path: Path) -> None:
    curl, target = shutil.which("curl"), tmp_path / "model.pth"
    if not curl:
        pytest.skip("needs curl")
    target.write_bytes((place / "weights" / "model.pth").read_bytes()[:5_000_001])
    url = f"{served.url}/own/resolve/v1/model.pth"
    subprocess.run([curl, "-sSf", "-C", "-", "-o", target, url], check=True)
    assert sha256_of(target) == sha256_of(place / "weights" / "model.pth")


_CLIENT = """
import json, sys
from huggingface_hub import HfApi, hf_hub_download, snapshot_download, __version__
repo, revision = sys.argv[1:3]
one = hf_hub_download(repo, "model.pth", revision=revision)
again = hf_hub_download(repo, "model.pth", revision=revision, local_files_only=True)
assert one == again
folder = snapshot_download(repo, revision=revision)
corpus = snapshot_download("team/corpus", revision="v1", repo_type="dataset")
info = HfApi().repo_info(repo, revision=revision, files_metadata=True)
tree = list(HfApi().list_repo_tree(repo, revision=revision, recursive=True))
try:
    hf_hub_download(repo, "none.txt", revision=revision)
except Exception as error:
    absent = type(error).__name__
print(json.dumps({"version": __version__, "one": one, "folder": folder, "corpus": corpus,
    "sha": info.sha, "files": len(info.siblings), "tree": len(tree), "absent": absent}))
"""


@pytest.fixture(scope="module", params=["0", "1.33.0", "2.4.0"])
def hub_client(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The variables under which Python has that version of huggingface_hub."""
    if request.param == "0":  # the one that TTS's transformers accepts
        if not __import__("importlib.util").util.find_spec("huggingface_hub"):
            pytest.skip("huggingface_hub is not installed here")
        return {}
    target = tmp_path_factory.mktemp("hub") / "packages"
    wanted = ["--target", str(target), f"huggingface_hub=={request.param}"]
    try:
        Tools.find().run_uv("pip", "install", "--python", sys.executable, *wanted)
    except (XttsregError, RemoteError) as error:
        pytest.skip(f"huggingface_hub {request.param} cannot be installed here: {error}")
    return {"PYTHONPATH": str(target)}


def client_environment(tmp_path: Path, served: Served, more: dict[str, str]) -> dict[str, str]:
    env = clean_environment(tmp_path, HF_ENDPOINT=served.url, HF_HOME=str(tmp_path / "hf"))
    env.pop("PYTHONPATH")
    return {**env, "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_TELEMETRY": "1", **more}


def test_the_hubs_own_clients(
    served: Served, place: Path, tmp_path: Path, hub_client: dict[str, str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CLIENT, REPO, "main"], capture_output=True, text=True, timeout=120,
        env=client_environment(tmp_path, served, hub_client), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    weights = place / "weights"
    assert sha256_of(Path(told["one"])) == sha256_of(weights / "model.pth")
    names = {path.name for path in weights.iterdir()}
    assert {path.name for path in Path(told["folder"]).iterdir()} == names
    for name in names:
        assert sha256_of(Path(told["folder"]) / name) == sha256_of(weights / name)
    assert (Path(told["corpus"]) / "wavs" / "a b" / "ü.wav").read_bytes() == b"RIFF" * 100
    assert (told["sha"], told["files"], told["tree"]) == (REVISION, len(names), len(names))
    assert told["absent"].endswith("EntryNotFoundError")


def test_xttsreg_fetch_takes_it_for_the_hub(
    served: Served, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", served.url)
    store = LayoutStore.create(tmp_path / "store")
    item = Catalog.load(place / "catalog").get(Reference.parse("small:main"))
    done = fetch(store, item, ask=lambda _: "test", token="not-needed")
    assert len(done.fetched) == 8
    assert store.tags()["small:main"].digest == item.model()[1].describe().digest


# --- a registry's surface ------------------------------------------------------------------------


def test_pull_and_skopeo(served: Served, place: Path, tmp_path: Path) -> None:
    source, store = LayoutStore(place / "home" / "store"), LayoutStore.create(tmp_path / "store")
    catalog = Catalog.load(place / "catalog")
    address = Address.parse(f"{served.host}/small:main")
    done = pull(store, address, catalog=catalog, ask=lambda _: "test")
    assert done.manifest.digest == source.tags()["small:main"].digest
    assert run_cli(["verify", "--no-cache", "--store", store.root], tmp_path).code == 0
    skopeo = shutil.which("skopeo")
    if not skopeo:
        pytest.skip("needs skopeo")
    copied = f"oci:{tmp_path / 'oci'}:own:v1"
    plain = [skopeo, "copy", "--src-tls-verify=false", f"docker://{served.host}/own:v1", copied]
    subprocess.run(plain, check=True, capture_output=True)
    index = json.loads((tmp_path / "oci" / "index.json").read_text())
    assert index["manifests"][0]["digest"] == source.tags()["own:v1"].digest


def test_what_a_registry_answers(served: Served, place: Path) -> None:
    store = LayoutStore(place / "home" / "store")
    entry = store.tags()["own:v1"]
    assert served.get("/v2/").json == {}
    assert served.get("/v2/_catalog").json == {"repositories": ["own", "small", "team/corpus"]}
    first = served.get("/v2/_catalog?n=1")
    assert first.json == {"repositories": ["own"]}
    assert served.get(first.headers["Link"].split(">")[0][1:]).json["repositories"] == ["small"]
    assert served.get("/v2/own/tags/list").json == {"name": "own", "tags": ["v1"]}
    for which in ("v1", entry.digest):
        got = served.get(f"/v2/own/manifests/{which}")
        assert Digest.of(got.body) == entry.digest == got.headers["Docker-Content-Digest"]
        assert got.headers["Content-Type"] == entry.media_type
    for path, code in (
        ("none/manifests/v1", "NAME_UNKNOWN"),
        ("own/manifests/v2", "MANIFEST_UNKNOWN"),
        (f"own/manifests/sha256:{'0' * 64}", "MANIFEST_UNKNOWN"),
        (f"own/blobs/sha256:{'0' * 64}", "BLOB_UNKNOWN"),
        ("own/blobs/md5:00", "BLOB_UNKNOWN"),
    ):
        refused = served.get(f"/v2/{path}")
        assert (refused.status, refused.json["errors"][0]["code"]) == (404, code)
    # A blob of another repository is not this one's.
    corpus = store.tags()["team/corpus:v1"].digest
    assert served.get(f"/v2/own/blobs/{corpus}").status == 404
    assert served.get(f"/v2/own/referrers/{entry.digest}").json["manifests"] == []
    # Who accepted the terms speaks about the set, and can be pulled as well.
    pinned = store.tags()["small:main"].digest
    (note,) = served.get(f"/v2/small/referrers/{pinned}").json["manifests"]
    assert note["artifactType"] == licensing.ACCEPTANCE_TYPE
    assert served.get(f"/v2/small/manifests/{note['digest']}").status == 200
    other = served.get(f"/v2/small/referrers/{pinned}?artifactType=x")
    assert (other.json["manifests"], other.headers["OCI-Filters-Applied"]) == ([], "artifactType")


@needs_registry
def test_round_trip(place: Path, tmp_path: Path, hub_client: dict[str, str]) -> None:
    """Store, registry, second store, serve, ``hf download``, sha256sum."""
    with Registry(tmp_path / "registry") as registry:
        there = f"{registry.host}/team/small:main"
        assert run_cli(["push", "small:main", there], place / "home").code == 0
        second = tmp_path / "second"
        took = ["pull", there, "small:main", "--catalog", place / "catalog", "--accept-license"]
        done = run_cli(took, second)
        assert done.code == 0, done.stderr
    with Served(second, "--catalog", place / "catalog") as node:
        subprocess.run(
            [sys.executable, "-m", "huggingface_hub.cli.hf", "download", REPO,
             "--local-dir", str(tmp_path / "got")],
            env=client_environment(tmp_path, node, hub_client), check=True, capture_output=True,
            timeout=120,
        )  # fmt: skip
    lines = [f"{sha256_of(path)}  {path.name}\n" for path in (place / "weights").iterdir()]
    (tmp_path / "SUMS").write_text("".join(lines))
    check = ["sha256sum", "-c", "--quiet", tmp_path / "SUMS"]
    subprocess.run(check, cwd=tmp_path / "got", check=True)


# --- what must not come out ----------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> LayoutStore:
    weights = make_small_set(tmp_path / "weights", model_pth=3_000_000)
    return filled_store(tmp_path / "home" / "store", weights)


def test_a_flipped_bit_is_not_sent(own: LayoutStore, tmp_path: Path) -> None:
    damage(blob_file(own, "model.pth"), 1_000_000)
    damage(blob_file(own, "config.json"))
    with Served(tmp_path / "home") as served:
        for _ in range(2):
            got = served.get("/own/resolve/v1/model.pth")
            assert got.status == 500
            assert "damaged" in got.json["error"]
        assert served.get("/own/resolve/v1/model.pth", Range="bytes=0-9").status == 500
        assert served.head("/own/resolve/v1/model.pth").status == 500
        assert served.head("/own/resolve/v1/config.json").status == 500
        digest = blob_file(own, "model.pth").name
        assert served.get(f"/v2/own/blobs/sha256:{digest}").status == 500
        metrics = served.get("/metrics").body.decode()
        assert "xttsreg_damaged_blobs 2" in metrics
        # The wrong one was read once, however often it was asked for.
        blob_file(own, "model.pth").unlink()
        assert "not in" in served.get("/own/resolve/v1/model.pth").json["error"]
        # Mended behind its back, it is sent again.
        shutil.copy(tmp_path / "weights" / "model.pth", blob_file(own, "model.pth"))
        assert served.get("/own/resolve/v1/model.pth").status == 200


def test_it_follows_the_store(own: LayoutStore, tmp_path: Path) -> None:
    with Served(tmp_path / "home") as served:
        assert served.head("/own/resolve/v2/config.json").status == 404
        own.tag("own:v2", own.tags()["own:v1"])
        assert served.head("/own/resolve/v2/config.json").status == 200
        own.untag("own:v1")
        assert served.head("/own/resolve/v1/config.json").status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/own/resolve/v1/../../../../etc/passwd", "/own/resolve/v1/..%2f..%2fetc%2fpasswd",
        "/own/resolve/v1/%2e%2e/x", "//etc/passwd", "/own/resolve/v1//etc/passwd",
        "/own/resolve/v1/config.json%00.txt", "/own/resolve/v1/a%5cb", "/v2/own/blobs/..%2f..",
        "/v2/../../etc/passwd", "/" + "a/" * 2100, "/own/resolve/v1/" + "%41" * 2000,
    ],
)  # fmt: skip
def test_tricks_with_paths(served: Served, path: str) -> None:
    got = served.get(path)
    assert got.status == 400
    assert b"root:" not in got.body


@pytest.mark.parametrize(
    "data",
    [
        b"GET /own\0 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET " + b"/a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET http://other/own HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_broken_requests(served: Served, data: bytes) -> None:
    head = served.raw(data)
    assert head.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4"))
    assert b"Traceback" not in head
    assert served.get("/healthz").body == b"ok\n"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_read_only(served: Served, method: str) -> None:
    refused = served.get("/v2/own/blobs/uploads/", method)
    assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD")


def test_a_page_of_somebody_else_stays_text(tmp_path: Path) -> None:
    store, folder = LayoutStore.create(tmp_path / "home" / "store"), tmp_path / "folder"
    folder.mkdir()
    (folder / "x.html").write_text("<script>alert(1)</script>")
    add_dataset(store, Reference.parse("pages:v1"), folder, Catalog([]))
    with Served(tmp_path / "home") as served:
        got = served.get("/pages/resolve/v1/x.html")
    assert got.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in got.headers["Content-Security-Policy"]


# --- many, slow and gone -------------------------------------------------------------------------


def test_many_clients_with_slow_ones_among_them(served: Served, place: Path) -> None:
    digest = sha256_of(place / "weights" / "model.pth")
    request = b"GET /own/resolve/v1/model.pth HTTP/1.1\r\nHost: x\r\n\r\n"
    slow = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(60)]
    try:
        for number, connection in enumerate(slow):
            # A third reads nothing, a third never ends its request, a third says nothing at all.
            if number % 3:
                connection.sendall(request if number % 3 == 1 else request[:-2])

        def one(_: int) -> str:
            return hashlib.sha256(served.get("/own/resolve/v1/model.pth").body).hexdigest()

        with ThreadPoolExecutor(200) as pool:
            assert set(pool.map(one, range(200))) == {digest}
    finally:
        for connection in slow:
            connection.close()
    assert served.get("/healthz").status == 200
    for _ in range(100):
        if "xttsreg_open_requests 1" in served.get("/metrics").body.decode():
            break
        time.sleep(0.05)
    else:
        raise AssertionError("requests of clients that are gone stay open")


def test_who_says_nothing_and_who_takes_nothing_is_let_go(place: Path) -> None:
    """But nobody who is only slow."""
    big, health = (f"GET {path} HTTP/1.1\r\nHost: x\r\n".encode()
                   for path in ("/own/resolve/v1/model.pth", "/healthz"))  # fmt: skip
    with Served(place / "home", is_hurried=True) as served:

        def connect(data: bytes) -> socket.socket:
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
            connection.connect(("127.0.0.1", served.port))
            connection.sendall(data)
            connection.settimeout(20)
            return connection

        began = time.monotonic()
        deaf, slow = connect(big + b"\r\n"), connect(big + b"Connection: close\r\n\r\n")
        quiet = [connect(data) for data in (b"", health, health + b"X: y", health + b"\r\n")]
        read = bytearray()
        while data := slow.recv(65536):  # in all, longer than anybody may take nothing
            read += data
            if time.monotonic() - began < 5:
                time.sleep(0.02)
        head, _, body = bytes(read).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert hashlib.sha256(body).hexdigest() == sha256_of(place / "weights" / "model.pth")
        for connection in quiet:
            while connection.recv(65536):
                pass
        assert time.monotonic() - began < 30
        for _ in range(200):
            metrics = served.get("/metrics").body.decode()
            if "xttsreg_aborted_total 1" in metrics:
                break
            time.sleep(0.1)
        assert "xttsreg_aborted_total 1" in metrics
        assert "xttsreg_open_requests 1" in metrics
        for connection in (deaf, slow, *quiet):
            connection.close()
    assert not [line for line in served.log if "Traceback" in line or "Error" in line]


def test_it_goes_on_hashing_what_is_new_after_an_index_that_could_not_be_read(
    own: LayoutStore, tmp_path: Path
) -> None:
    with Served(tmp_path / "home", is_hurried=True) as served:

        def hashed() -> int:
            [line] = [line for line in served.get("/metrics").body.decode().splitlines()
                      if line.startswith("xttsreg_hashed_blobs_total ")]  # fmt: skip
            return int(line.split()[1])

        index = own.root / "index.json"
        good = index.read_bytes()
        index.write_bytes(good[:-9])
        time.sleep(0.5)
        assert served.get("/api/models").status == 500
        index.write_bytes(good)
        for record in (own.state / "verified").iterdir():
            record.unlink()
        before = hashed()
        own.tag("own:v2", own.tags()["own:v1"])
        for _ in range(200):
            if hashed() > before:
                break
            time.sleep(0.05)
        assert hashed() > before
        served.process.terminate()
        assert served.process.wait(20) == 0


# --- who may, and where --------------------------------------------------------------------------


def test_a_token(own: LayoutStore, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    with Served(tmp_path / "home", "--token-file", tmp_path / "token") as served:
        path = "/own/resolve/v1/config.json"
        for wrong in ({}, {"Authorization": "Bearer other"}, {"Authorization": "Basic !"},
                      {"Authorization": "Digest s3cret"}):  # fmt: skip
            for asked in (path, "/v2/", "/metrics", "/", "/api/models"):
                refused = served.get(asked, **wrong)
                assert refused.status == 401
                assert refused.headers["WWW-Authenticate"].startswith("Basic ")
        assert served.get(path, Authorization="Bearer s3cret").status == 200
        basic = {"Authorization": "Basic YW55OnMzY3JldA=="}  # any:s3cret
        assert served.get("/v2/", **basic).status == 200
        assert served.get("/healthz").status == 200
    assert not [line for line in served.log if "s3cret" in line or "YW55" in line]
    assert [line for line in served.log if '"GET /own/resolve/v1/config.json HTTP/1.1" 200' in line]


def test_tls(own: LayoutStore, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("needs openssl")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-keyout", key, "-out", cert, "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    with Served(tmp_path / "home", "--tls-cert", cert, "--tls-key", key) as served:
        assert served.url.startswith("https://")
        import urllib.request

        context = ssl.create_default_context(cafile=str(cert))
        url = f"{served.url}/own/resolve/v1/model.pth"
        with urllib.request.urlopen(url, context=context) as answer:
            digest = hashlib.sha256(answer.read()).hexdigest()
    assert digest == sha256_of(tmp_path / "weights" / "model.pth")


def test_start_and_stop(own: LayoutStore, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Served(home) as served:
        assert served.url == f"http://127.0.0.1:{served.port}"
        taken = run_cli(["serve", "--port", served.port], home)
        assert taken.code == 1
        assert "cannot listen" in taken.error
        threading.Timer(0.3, served.process.terminate).start()
        assert served.process.wait(20) == 0
    assert run_cli(["serve", "--host", "192.0.2.1"], home).code == 1
    assert run_cli(["serve", "--tls-key", tmp_path / "weights" / "config.json"], home).code == 2
    bad = ["serve", "--tls-cert", tmp_path / "weights" / "config.json"]
    assert run_cli(bad, home).code == 2
    assert run_cli(["serve"], tmp_path / "nothing").code == 5
    with Served(home, "--host", "0.0.0.0") as open_to_all:
        assert open_to_all.get("/healthz").status == 200
    assert any("whoever reaches 0.0.0.0" in line for line in open_to_all.log)
