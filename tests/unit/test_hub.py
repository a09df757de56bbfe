"""The demo's hub answers as the real one does; its faults are what they say."""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import clean_environment

from xttsreg.demo.hub import Fault, Hub

REVISION = "6c2b0d75eae4b7047358e3b6bd9325f857d43f77"
REPO = "coqui/XTTS-v2"
PREFIX = f"/{REPO}/resolve/{REVISION}"
BIG = bytes(range(256)) * 2000
SMALL = b'{"a": 1}\n'
BIG_SHA256 = hashlib.sha256(BIG).hexdigest()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "repo" / "sub").mkdir(parents=True)
    (tmp_path / "repo" / "model.pth").write_bytes(BIG)
    (tmp_path / "repo" / "sub" / "a b.json").write_bytes(SMALL)
    (tmp_path / "secret.txt").write_text("secret")
    return tmp_path / "repo"


@pytest.fixture
def hub(directory: Path) -> Iterator[Hub]:
    with Hub(directory, repo=REPO, revision=REVISION) as server:
        yield server


class Answer:
    """An answer as it is on the wire."""

    def __init__(self, hub: Hub, path: str, method: str = "GET", **headers: str) -> None:
        connection = http.client.HTTPConnection(hub.url.removeprefix("http://"), timeout=10)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=sent)
        response = connection.getresponse()
        self.status, self.headers, self.body = response.status, response.headers, response.read()
        connection.close()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("revision", [REVISION, "main"])
def test_small_file(hub: Hub, method: str, revision: str) -> None:
    got = Answer(hub, f"/{REPO}/resolve/{revision}/sub/a%20b.json", method)
    blob = hashlib.sha1(b"blob %d\0" % len(SMALL) + SMALL).hexdigest()
    assert got.status == 200
    assert got.body == (SMALL if method == "GET" else b"")
    assert got.headers["Content-Length"] == str(len(SMALL))
    assert got.headers["ETag"] == f'"{blob}"'
    assert got.headers["X-Repo-Commit"] == REVISION
    assert got.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_large_file(hub: Hub, method: str) -> None:
    got = Answer(hub, f"{PREFIX}/model.pth", method)
    assert got.status == 302
    assert got.headers["X-Linked-ETag"] == f'"{BIG_SHA256}"'
    assert got.headers["X-Linked-Size"] == str(len(BIG))
    assert got.headers["X-Repo-Commit"] == REVISION
    location = got.headers["Location"]
    assert location.startswith(f"{hub.url}/lfs/{BIG_SHA256}")
    stored = Answer(hub, location.removeprefix(hub.url), method)
    assert (stored.status, stored.headers["Content-Length"]) == (200, str(len(BIG)))
    assert stored.body == (BIG if method == "GET" else b"")


def test_large_by_size(directory: Path) -> None:
    (directory / "big.json").write_bytes(bytes(100))
    with Hub(directory, repo=REPO, revision=REVISION, lfs_bytes=100, other_host=True) as hub:
        assert Answer(hub, f"{PREFIX}/big.json").headers["Location"].startswith(hub.lfs_url)
        assert hub.lfs_url != hub.url
        assert Answer(hub, f"{PREFIX}/sub/a%20b.json").status == 200


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-", 0, len(BIG)),
        ("bytes=100-", 100, len(BIG)),
        ("bytes=100-199", 100, 200),
        ("bytes=511999-600000", 511_999, len(BIG)),
        ("bytes=-10", len(BIG) - 10, len(BIG)),
    ],
)
def test_range(hub: Hub, asked: str, start: int, end: int) -> None:
    got = Answer(hub, f"/lfs/{BIG_SHA256}", Range=asked)
    assert (got.status, got.body) == (206, BIG[start:end])
    assert got.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(BIG)}"


@pytest.mark.parametrize("asked", ["bytes=5-1", "bytes=0-1,5-6", "bytes=-", "lines=1-2", "x"])
def test_range_that_does_not_count(hub: Hub, asked: str) -> None:
    got = Answer(hub, f"/lfs/{BIG_SHA256}", Range=asked)
    assert (got.status, got.body) == (200, BIG)


def test_range_beyond_the_end(hub: Hub) -> None:
    got = Answer(hub, f"/lfs/{BIG_SHA256}", Range=f"bytes={len(BIG)}-")
    assert (got.status, got.headers["Content-Range"]) == (416, f"bytes */{len(BIG)}")


def test_if_range(hub: Hub) -> None:
    path = f"/lfs/{BIG_SHA256}"
    assert Answer(hub, path, Range="bytes=5-", If_Range=f'"{BIG_SHA256}"').status == 206
    assert Answer(hub, path, Range="bytes=5-", If_Range='"other"').status == 200


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"{PREFIX}/none.json", "EntryNotFound"),
        (f"{PREFIX}/", "EntryNotFound"),
        (f"{PREFIX}/sub", "EntryNotFound"),
        (f"{PREFIX}/../secret.txt", "EntryNotFound"),
        (f"{PREFIX}/%2e%2e/secret.txt", "EntryNotFound"),
        (f"{PREFIX}/sub/..%2f..%2f..%2fsecret.txt", "EntryNotFound"),
        (f"{PREFIX}//etc/passwd", "EntryNotFound"),
        (f"{PREFIX}/a%00b", "EntryNotFound"),
        (f"/{REPO}/resolve/v1/model.pth", "RevisionNotFound"),
        (f"/other/repo/resolve/{REVISION}/model.pth", "RepoNotFound"),
        ("/", "RepoNotFound"),
        ("/lfs/" + "0" * 64, "EntryNotFound"),
    ],
)
def test_not_found(hub: Hub, path: str, code: str) -> None:
    got = Answer(hub, path)
    assert (got.status, got.headers["X-Error-Code"]) == (404, code)
    assert (got.headers["X-Repo-Commit"] == REVISION) == (code == "EntryNotFound")


def test_token(directory: Path) -> None:
    with Hub(directory, repo=REPO, revision=REVISION, token="hf_x") as hub:
        path = f"{PREFIX}/model.pth"
        assert Answer(hub, path).status == 401
        assert Answer(hub, path, Authorization="Bearer hf_y").status == 401
        assert Answer(hub, path, Authorization="Bearer hf_x").status == 302
        assert [r.authorized for r in hub.requests] == [False, True, True]
        assert "hf_x" not in repr(hub.requests)


def test_changed_file_has_another_digest(hub: Hub, directory: Path) -> None:
    before = Answer(hub, f"{PREFIX}/model.pth").headers["X-Linked-ETag"]
    (directory / "model.pth").write_bytes(b"other")
    assert Answer(hub, f"{PREFIX}/model.pth").headers["X-Linked-ETag"] != before


def test_connection_is_kept(hub: Hub) -> None:
    connection = http.client.HTTPConnection(hub.url.removeprefix("http://"), timeout=10)
    for _ in range(3):
        connection.request("GET", f"{PREFIX}/sub/a%20b.json")
        assert connection.getresponse().read() == SMALL
        port = connection.sock.getsockname()
    assert port == connection.sock.getsockname()
    connection.close()


def test_closing_cuts_open_connections(directory: Path) -> None:
    with Hub(directory, repo=REPO, revision=REVISION) as hub:
        connection = http.client.HTTPConnection(hub.url.removeprefix("http://"), timeout=10)
        connection.request("GET", f"{PREFIX}/sub/a%20b.json")
        connection.getresponse().read()
    with pytest.raises((OSError, http.client.HTTPException)):  # noqa: PT012 - either may notice
        connection.request("GET", f"{PREFIX}/sub/a%20b.json")
        connection.getresponse()
    connection.close()


def test_faults_are_used_up_in_order_and_head_spares_them(hub: Hub) -> None:
    hub.inject(Fault(status=503, retry_after="3"), file="model.pth", stage="resolve", times=2)
    hub.inject(Fault(status=429))
    path = f"{PREFIX}/model.pth"
    assert Answer(hub, path, "HEAD").status == 302
    first = Answer(hub, path)
    assert (first.status, first.headers["Retry-After"]) == (503, "3")
    assert [Answer(hub, path).status for _ in range(3)] == [503, 429, 302]


def test_drop_and_chunked(hub: Hub) -> None:
    path = f"/lfs/{BIG_SHA256}"
    hub.inject(Fault(drop_after_bytes=1000))
    with pytest.raises(http.client.IncompleteRead) as caught:
        Answer(hub, path)
    assert caught.value.partial == BIG[:1000]
    hub.inject(Fault(chunked=True))
    got = Answer(hub, path)
    assert (got.body, got.headers["Content-Length"]) == (BIG, None)
    hub.inject(Fault(drop_after_bytes=1000, reset=True, stall_s=0.1))
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        Answer(hub, path)


CLIENT = """
import sys, huggingface_hub
endpoint, cache, repo, *names = sys.argv[1:]
for name in names:
    print(huggingface_hub.hf_hub_download(repo, name, revision="main", endpoint=endpoint,
                                          cache_dir=cache))
"""


def test_unmodified_client(hub: Hub, tmp_path: Path) -> None:
    """Where it is installed: the hub's own client downloads from this one."""
    if importlib.util.find_spec("huggingface_hub") is None:
        pytest.skip("needs huggingface_hub")
    files = {"model.pth": BIG, "sub/a b.json": SMALL}
    # A process of its own: the client reads its settings once, and other tests change them.
    command = [sys.executable, "-c", CLIENT, hub.url, str(tmp_path / "cache"), REPO, *files]
    environ = {k: v for k, v in clean_environment(tmp_path).items() if "OFFLINE" not in k}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for path, data in zip(done.stdout.splitlines(), files.values(), strict=True):
        assert Path(path).read_bytes() == data
        assert REVISION in path
