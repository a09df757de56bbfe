"""Downloads over real connections to the demo's hub, which can be told to misbehave."""

from __future__ import annotations

import hashlib
import http.client
import random
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from xttsreg.demo.hub import Fault, Hub
from xttsreg.errors import (
    DigestMismatch,
    InvalidInputError,
    RemoteError,
    SizeMismatch,
    Transient,
    Unauthorized,
)
from xttsreg.remote.download import RemoteFile, download
from xttsreg.remote.transport import Bearer, parse_retry_after
from xttsreg.remote.urls import HUB_URL, apply_endpoint, origin_of, redact

REVISION = "6c2b0d75eae4b7047358e3b6bd9325f857d43f77"
REPO = "coqui/XTTS-v2"
TOKEN = "hf_do_not_tell"
BIG = random.Random(1).randbytes(3_000_000)
SMALL = b'{"model": "xtts"}\n'


class MemorySink:
    """What a store's unfinished blob looks like; also counts what was dropped."""

    def __init__(self, held: bytes = b"") -> None:
        self.data = bytearray(held)
        self.restarts = 0
        self.pieces = 0

    @property
    def offset_bytes(self) -> int:
        return len(self.data)

    def write(self, data: bytes) -> None:
        self.data += data
        self.pieces += 1

    def restart(self) -> None:
        self.data.clear()
        self.restarts += 1


class Sleeps(list[float]):
    """Remembers waits in place of waiting."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No proxy, CA or .netrc of the machine."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HF_ENDPOINT", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


def make_directory(path: Path, *, big: bytes = BIG) -> Path:
    """A repository with a large and a small file."""
    path.mkdir()
    (path / "model.pth").write_bytes(big)
    (path / "config.json").write_bytes(SMALL)
    return path


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(make_directory(tmp_path / "one"), repo=REPO, revision=REVISION) as server:
        yield server


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Hub]:
    """A second hub with the same files, and large files on another host."""
    directory = make_directory(tmp_path / "two")
    with Hub(directory, repo=REPO, revision=REVISION, other_host=True) as server:
        yield server


def pinned(*hubs: Hub, name: str = "model.pth", data: bytes | None = None) -> RemoteFile:
    """The file as a catalogue pins it, on these hubs."""
    content = data if data is not None else (BIG if name == "model.pth" else SMALL)
    return RemoteFile(
        name=name,
        size_bytes=len(content),
        sha256_hex=hashlib.sha256(content).hexdigest(),
        urls=[hub.file_url(name) for hub in hubs],
    )


def ranges(hub: Hub) -> list[str | None]:
    """The Range headers of the requests that could deliver bytes of the large file."""
    return [r.range for r in hub.requests if r.stage == "lfs"]


# --- the plain way -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.pth", "config.json"])
def test_delivers_the_bytes_and_says_from_where(hub: Hub, name: str) -> None:
    sink, steps = MemorySink(), []
    file = pinned(hub, name=name)
    assert download(file, sink, advance=steps.append) == file.urls[0]
    assert hashlib.sha256(sink.data).hexdigest() == file.sha256_hex
    assert sum(steps) == file.size_bytes
    assert [r.headers["accept-encoding"] for r in hub.requests] == ["identity"] * len(hub.requests)


def test_a_full_sink_asks_nobody(hub: Hub) -> None:
    assert download(pinned(hub), MemorySink(BIG)) == ""
    assert hub.requests == []


def test_a_sink_that_is_too_long_begins_again(hub: Hub) -> None:
    sink, steps = MemorySink(BIG + b"x"), []
    download(pinned(hub), sink, advance=steps.append)
    assert sink.data == BIG
    assert sum(steps) + len(BIG) + 1 == len(BIG)


def test_body_without_a_length(hub: Hub) -> None:
    hub.inject(Fault(chunked=True), stage="lfs")
    sink = MemorySink()
    download(pinned(hub), sink)
    assert sink.data == BIG


def test_several_at_once(hub: Hub) -> None:
    sinks = [MemorySink() for _ in range(6)]
    threads = [threading.Thread(target=download, args=(pinned(hub), sink)) for sink in sinks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(sink.data == BIG for sink in sinks)


# --- resuming ----------------------------------------------------------------------------------


def test_dropped_connections_fetch_no_byte_twice(hub: Hub) -> None:
    for _ in range(3):
        hub.inject(Fault(drop_after_bytes=700_001), stage="lfs")
    sink, sleeps, steps = MemorySink(), Sleeps(), []
    download(pinned(hub), sink, attempts=2, sleep=sleeps, advance=steps.append)
    assert sink.data == BIG
    assert ranges(hub) == [None, "bytes=700001-", "bytes=1400002-", "bytes=2100003-"]
    assert sum(steps) == len(BIG)
    assert sink.restarts == 0
    # Progress resets the count: three breaks are survived by two attempts, each wait a first one.
    assert len(sleeps) == 3
    assert all(0.5 <= s <= 1.0 for s in sleeps)


def test_a_connection_that_brought_much_is_made_again_at_once(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xttsreg.remote.download._GOOD_BYTES", 700_000)
    hub.inject(Fault(drop_after_bytes=700_001), stage="lfs")
    hub.inject(Fault(drop_after_bytes=600_000), stage="lfs")
    sink, sleeps = MemorySink(), Sleeps()
    download(pinned(hub), sink, sleep=sleeps)
    assert sink.data == BIG
    assert len(sleeps) == 1


def test_reset_connection_resumes(hub: Hub) -> None:
    hub.inject(Fault(drop_after_bytes=1_000_000, reset=True, stall_s=0.2), stage="lfs")
    sink = MemorySink()
    download(pinned(hub), sink, sleep=Sleeps())
    assert sink.data == BIG
    assert sink.restarts == 0


def test_resumes_what_another_process_began(hub: Hub) -> None:
    sink = MemorySink(BIG[:1_234_567])
    download(pinned(hub), sink)
    assert sink.data == BIG
    assert ranges(hub) == ["bytes=1234567-"]
    assert "if-range" not in hub.requests[-1].headers  # no ETag is known from then


def test_if_range_guards_a_file_that_changes_meanwhile(hub: Hub) -> None:
    hub.inject(Fault(drop_after_bytes=500_000, headers={"ETag": '"before"'}), stage="lfs")
    sink = MemorySink()
    download(pinned(hub), sink, sleep=Sleeps())
    assert hub.requests[-1].headers["if-range"] == '"before"'
    assert sink.data == BIG
    assert sink.restarts == 1  # the answer was 200: another content, from the beginning


def test_weak_etag_is_not_used(hub: Hub) -> None:
    hub.inject(Fault(drop_after_bytes=500_000, headers={"ETag": 'W/"x"'}), stage="lfs")
    download(pinned(hub), MemorySink(), sleep=Sleeps())
    assert "if-range" not in hub.requests[-1].headers


def test_server_that_ignores_range_starts_over(hub: Hub) -> None:
    hub.inject(Fault(ignore_range=True), stage="lfs")
    sink, steps = MemorySink(b"x" * 1000), []
    download(pinned(hub), sink, advance=steps.append)
    assert sink.data == BIG
    assert sink.restarts == 1
    assert sum(steps) == len(BIG) - 1000


@pytest.mark.parametrize(
    "content_range",
    ["bytes 0-2999999/3000000", "bytes 1000-3000000/3000000", "bytes 1000-1/*", "nonsense", ""],
)
def test_wrong_content_range_is_not_stored(hub: Hub, content_range: str) -> None:
    hub.inject(Fault(content_range=content_range or " "), stage="lfs")
    sink = MemorySink(BIG[:1000])
    download(pinned(hub), sink, sleep=Sleeps())
    assert sink.data == BIG
    assert ranges(hub) == ["bytes=1000-", None]


def test_content_range_of_a_longer_file_is_another_file(hub: Hub) -> None:
    hub.inject(Fault(content_range="bytes 1000-2999999/3000001"), stage="lfs")
    sink = MemorySink(BIG[:1000])
    with pytest.raises(SizeMismatch, match="3000001"):
        download(pinned(hub), sink, sleep=Sleeps())
    assert sink.data == BIG[:1000]


def test_416_without_a_size_starts_over(hub: Hub) -> None:
    hub.inject(Fault(status=416), stage="lfs")
    sink = MemorySink(b"x" * 1000)
    download(pinned(hub), sink, sleep=Sleeps())
    assert sink.data == BIG


def test_ignored_range_and_a_break_at_the_same_place_ends(hub: Hub) -> None:
    """Bytes that were there before are no progress: this would go on for ever otherwise."""
    hub.faults = lambda r: (
        Fault(ignore_range=True, drop_after_bytes=900_000) if r.stage == "lfs" else None
    )
    sleeps = Sleeps()
    with pytest.raises(Transient):
        download(pinned(hub), MemorySink(), attempts=3, sleep=sleeps)
    assert len(ranges(hub)) == 3


def test_silence_is_a_timeout_and_resumes(hub: Hub) -> None:
    hub.inject(Fault(drop_after_bytes=1_000_000, stall_s=3), stage="lfs")
    sink = MemorySink()
    download(pinned(hub), sink, timeout_s=(5, 0.5), sleep=Sleeps())
    assert sink.data == BIG
    assert ranges(hub) == [None, "bytes=1000000-"]  # what had come is not lost in a buffer


def test_slow_is_not_silent(hub: Hub) -> None:
    hub.inject(Fault(pause_s=0.05), stage="lfs")
    download(pinned(hub), MemorySink(), timeout_s=(5, 1), attempts=1)


# --- what is tried again, and what is not --------------------------------------------------------


def test_500_is_tried_again_with_growing_waits(hub: Hub) -> None:
    hub.inject(Fault(status=500), times=3)
    sink, sleeps = MemorySink(), Sleeps()
    download(pinned(hub), sink, sleep=sleeps)
    assert sink.data == BIG
    assert [0.5 <= s / 2**i <= 1.0 for i, s in enumerate(sleeps)] == [True] * 3


@pytest.mark.parametrize("status", [408, 429, 503])
def test_retry_after_in_seconds(hub: Hub, status: int) -> None:
    hub.inject(Fault(status=status, retry_after="17"))
    sleeps = Sleeps()
    download(pinned(hub), MemorySink(), sleep=sleeps)
    assert sleeps == [17.0]


def test_retry_after_as_a_date_and_capped(hub: Hub) -> None:
    soon = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=60), usegmt=True)
    hub.inject(Fault(status=503, retry_after=soon))
    hub.inject(Fault(status=503, retry_after="86400"))
    sleeps = Sleeps()
    download(pinned(hub), MemorySink(), sleep=sleeps)
    assert 50 < sleeps[0] <= 60
    assert sleeps[1] == 300


def test_parse_retry_after() -> None:
    now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    assert parse_retry_after("Thu, 01 Jan 2026 00:01:00 GMT", now=now) == 60
    assert parse_retry_after("Wed, 31 Dec 2025 23:00:00 GMT", now=now) == 0
    assert [parse_retry_after(t) for t in (None, "", "-1", "soon", "1.5")] == [None] * 5


@pytest.mark.parametrize(
    ("status", "kind"), [(401, Unauthorized), (403, Unauthorized), (404, RemoteError)]
)
def test_final_answers_are_not_tried_again(hub: Hub, status: int, kind: type[RemoteError]) -> None:
    hub.inject(Fault(status=status), times=9)
    sink, sleeps = MemorySink(), Sleeps()
    with pytest.raises(kind, match=f"model.pth.*answered {status}") as caught:
        download(pinned(hub), sink, sleep=sleeps)
    assert (caught.value.status, caught.value.exit_code) == (status, 6)
    assert (len(hub.requests), sleeps, sink.data) == (1, [], b"")
    if status != 404:
        assert "HF_TOKEN" in (caught.value.hint or "")


def test_real_404_names_the_hubs_reason(hub: Hub) -> None:
    with pytest.raises(RemoteError, match=r"answered 404 \(EntryNotFound\)"):
        download(pinned(hub, name="dvae.pth"), MemorySink())


def test_refused_connection_is_tried_again(tmp_path: Path) -> None:
    with Hub(make_directory(tmp_path / "gone"), repo=REPO, revision=REVISION) as hub:
        file = pinned(hub)
    sleeps = Sleeps()
    with pytest.raises(Transient, match="refused"):
        download(file, MemorySink(), sleep=sleeps)
    assert len(sleeps) == 4


def test_ctrl_c_passes(hub: Hub) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(pinned(hub), MemorySink(), advance=interrupt)


def test_full_disk_passes_and_is_not_a_network_error(hub: Hub) -> None:
    class Full(MemorySink):
        def write(self, data: bytes) -> None:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        download(pinned(hub), Full(), sleep=Sleeps())


# --- other content than the pin says ---------------------------------------------------------


def test_html_page_with_status_200(hub: Hub) -> None:
    page = b"<!doctype html><title>Sign in to WiFi</title>"
    hub.inject(Fault(body=page, content_type="text/html; charset=utf-8"), file="config.json")
    sink = MemorySink()
    with pytest.raises(RemoteError, match="web page"):
        download(pinned(hub, name="config.json"), sink, sleep=Sleeps())
    assert sink.data == b""


def test_wrong_length_is_not_stored(hub: Hub) -> None:
    for body in (BIG[:-1], BIG + b"!"):
        hub.inject(Fault(body=body), stage="lfs")
        sink = MemorySink()
        with pytest.raises(SizeMismatch) as caught:
            download(pinned(hub), sink, sleep=Sleeps())
        assert caught.value.actual_bytes == len(body)
        assert caught.value.exit_code == 4
        assert sink.data == b""


def test_longer_without_a_length(hub: Hub) -> None:
    hub.inject(Fault(body=BIG + b"!", chunked=True), stage="lfs")
    sink = MemorySink()
    with pytest.raises(SizeMismatch):
        download(pinned(hub), sink, sleep=Sleeps())
    assert sink.data == b""


def test_shorter_without_a_length_is_asked_for_the_rest(hub: Hub) -> None:
    hub.inject(Fault(body=BIG[:-5], chunked=True), stage="lfs")
    sink = MemorySink()
    download(pinned(hub), sink, sleep=Sleeps())
    assert sink.data == BIG
    assert ranges(hub) == [None, f"bytes={len(BIG) - 5}-"]


def test_shorter_without_a_length_and_no_rest(hub: Hub) -> None:
    hub.faults = lambda r: Fault(body=BIG[:-5], chunked=True) if r.stage == "lfs" else None
    sink = MemorySink()
    with pytest.raises(SizeMismatch):  # by the 416 that the second request gets
        download(pinned(hub), sink, sleep=Sleeps())
    assert sink.data == b""


@pytest.mark.parametrize("form", ['"{}"', "{}", 'W/"{}"'])
def test_linked_etag_of_another_file(hub: Hub, form: str) -> None:
    other = hashlib.sha256(b"other").hexdigest()
    hub.inject(Fault(headers={"X-Linked-ETag": form.format(other)}), stage="resolve")
    sink = MemorySink()
    with pytest.raises(DigestMismatch) as caught:
        download(pinned(hub), sink, sleep=Sleeps())
    assert caught.value.actual == f"sha256:{other}"
    assert [r.stage for r in hub.requests] == ["resolve"]  # its storage was not even asked


def test_linked_etag_that_is_no_sha256_says_nothing(hub: Hub) -> None:
    hub.inject(Fault(headers={"X-Linked-ETag": '"' + "0" * 40 + '"'}), stage="resolve")
    download(pinned(hub), MemorySink())


def test_linked_size_of_another_file(hub: Hub) -> None:
    hub.inject(Fault(headers={"X-Linked-Size": "5"}), stage="resolve")
    with pytest.raises(SizeMismatch):
        download(pinned(hub), MemorySink())
    assert [r.stage for r in hub.requests] == ["resolve"]


def test_compressed_answer_is_refused(hub: Hub) -> None:
    hub.inject(Fault(headers={"Content-Encoding": "gzip"}), stage="lfs")
    with pytest.raises(RemoteError, match="compressed"):
        download(pinned(hub), MemorySink())


# --- several sources -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=404),
        Fault(status=403),
        Fault(status=500),
        Fault(body=b"<html>", content_type="text/html"),
        Fault(headers={"X-Linked-ETag": "f" * 64}),
        Fault(headers={"Location": "ftp://host/file"}),
    ],
)
def test_next_source(hub: Hub, mirror: Hub, fault: Fault) -> None:
    hub.inject(fault, times=99)
    sink, sleeps = MemorySink(), Sleeps()
    file = pinned(hub, mirror)
    assert download(file, sink, sleep=sleeps) == file.urls[1]
    assert sink.data == BIG
    assert len(sleeps) == (4 if fault.status == 500 else 0)


def test_first_source_is_preferred(hub: Hub, mirror: Hub) -> None:
    download(pinned(hub, mirror), MemorySink())
    assert mirror.requests == []


def test_next_source_goes_on_where_the_first_one_stopped(hub: Hub, mirror: Hub) -> None:
    hub.inject(Fault(drop_after_bytes=2_000_000), stage="lfs")
    hub.inject(Fault(status=503), stage="lfs", times=99)
    sink = MemorySink()
    download(pinned(hub, mirror), sink, sleep=Sleeps())
    assert sink.data == BIG
    assert ranges(mirror) == ["bytes=2000000-"]


def test_next_source_does_not_build_on_another_file(hub: Hub, mirror: Hub) -> None:
    hub.faults = lambda r: Fault(body=b"x" * 1000, chunked=True) if r.stage == "lfs" else None
    sink, steps = MemorySink(), []
    download(pinned(hub, mirror), sink, sleep=Sleeps(), advance=steps.append)
    assert sink.data == BIG
    assert ranges(mirror) == [None]
    assert sum(steps) == len(BIG)


def test_error_says_what_each_source_answered(hub: Hub, mirror: Hub) -> None:
    hub.inject(Fault(status=404))
    mirror.inject(Fault(status=403))
    with pytest.raises(Unauthorized) as caught:
        download(pinned(hub, mirror), MemorySink())
    assert f"{hub.file_url('model.pth')}: answered 404" in caught.value.message
    assert f"{mirror.file_url('model.pth')}: answered 403" in caught.value.message
    assert "\n" not in caught.value.message


def test_no_source() -> None:
    with pytest.raises(RemoteError, match="no source"):
        download(pinned(), MemorySink())


# --- credentials, redirects --------------------------------------------------------------------


def test_token_stays_with_its_host(tmp_path: Path) -> None:
    directory = make_directory(tmp_path / "gated")
    with Hub(directory, repo=REPO, revision=REVISION, token=TOKEN, other_host=True) as hub:
        download(pinned(hub), MemorySink(), auth=Bearer(TOKEN), auth_urls=[hub.url])
        assert [(r.stage, r.authorized) for r in hub.requests] == [
            ("resolve", True),
            ("lfs", False),
        ]
        assert hub.requests[0].port != hub.requests[1].port
        with pytest.raises(Unauthorized, match="GatedRepo"):
            download(pinned(hub), MemorySink(), auth=Bearer(TOKEN))  # the token is the public hub's


def test_token_does_not_come_back_from_another_host(hub: Hub, mirror: Hub) -> None:
    """Token host, other host, token host again: the third request was chosen by the second."""
    back = hub.file_url("config.json")
    there = mirror.file_url("config.json")
    hub.inject(Fault(status=302, headers={"Location": there}), file="config.json")
    mirror.inject(Fault(status=302, headers={"Location": back}), file="config.json")
    file = pinned(hub, name="config.json")
    download(file, MemorySink(), auth=Bearer(TOKEN), auth_urls=[hub.url])
    assert [r.authorized for r in hub.requests + mirror.requests] == [True, False, False]


def test_relative_redirect_keeps_the_token(hub: Hub) -> None:
    where = f"/{REPO}/resolve/main/config.json"
    hub.inject(Fault(status=307, headers={"Location": where}), file="config.json")
    download(
        pinned(hub, name="config.json"),
        MemorySink(),
        auth=Bearer(TOKEN),
        auth_urls=[hub.url + "/x"],
    )
    assert [r.authorized for r in hub.requests] == [True, True]


def test_netrc_is_for_the_first_host_only(
    mirror: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """.netrc knows hosts but no ports, so requests would send it to the second port, too."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    download(pinned(mirror), MemorySink())
    assert [r.authorized for r in mirror.requests] == [True, False]


def test_netrc_does_not_replace_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    directory = make_directory(tmp_path / "gated")
    with Hub(directory, repo=REPO, revision=REVISION, token=TOKEN) as hub:
        download(pinned(hub), MemorySink(), auth=Bearer(TOKEN), auth_urls=[hub.url])


def test_too_many_redirects(hub: Hub) -> None:
    hub.faults = lambda r: Fault(status=302, headers={"Location": r.path})
    with pytest.raises(RemoteError, match="more than 5 redirects"):
        download(pinned(hub), MemorySink())
    assert len(hub.requests) == 6


@pytest.mark.parametrize("location", ["", "ftp://h/x", "file:///etc/passwd", "http://[x/"])
def test_redirect_that_is_not_followed(hub: Hub, location: str) -> None:
    hub.inject(Fault(status=302, headers={"Location": location}))
    with pytest.raises(RemoteError):
        download(pinned(hub), MemorySink())


def test_errors_tell_no_secrets(hub: Hub) -> None:
    hub.inject(Fault(status=404), stage="lfs")
    plain = pinned(hub)
    secret = plain.urls[0].replace("http://", "http://me:pass-word@") + "?key=sesame"
    closed = "http://me:pass-word@127.0.0.1:1/x?key=sesame"
    file = RemoteFile(
        name="model.pth",
        size_bytes=plain.size_bytes,
        sha256_hex=plain.sha256_hex,
        urls=[secret, closed, "nonsense?key=sesame", "http://me:pass-word@[x/?key=sesame"],
    )
    with pytest.raises(RemoteError) as caught:
        download(file, MemorySink(), auth=Bearer(TOKEN), auth_urls=[hub.url], sleep=Sleeps())
    told = repr(caught.value) + str(caught.value.hint) + caught.value.url
    assert not [word for word in (TOKEN, "pass-word", "sesame", "Signature") if word in told]


@pytest.mark.parametrize("token", ["hf_x\n", "hf x", "hf_\u00e9", ""])
def test_malformed_token(hub: Hub, token: str) -> None:
    with pytest.raises(InvalidInputError, match="token") as caught:
        download(pinned(hub), MemorySink(), auth=Bearer(token))
    assert not token or token not in str(caught.value)


def test_redact() -> None:
    assert redact("https://h:1/p?q#f") == "https://h:1/p"
    assert redact("https://u:p@h/p") == "https://h/p"
    assert redact("https://[::1]:8/p") == "https://[::1]:8/p"
    assert "p1" not in redact("https://u:p1#p2@h/p")
    assert "s" not in redact("u:secret@h").replace("host", "").replace("a URL", "")
    assert "\n" not in redact("https://h/\n")


def test_apply_endpoint() -> None:
    environ = {"HF_ENDPOINT": "http://node:8000/hf/"}
    assert apply_endpoint(f"{HUB_URL}/a/b?c=d", environ) == "http://node:8000/hf/a/b?c=d"
    assert apply_endpoint(f"{HUB_URL}:443/a", environ) == "http://node:8000/hf/a"
    assert origin_of(apply_endpoint(HUB_URL, environ)) == ("http", "node", 8000)
    assert apply_endpoint("https://huggingface.co.evil/a", environ).startswith("https://hugg")
    assert apply_endpoint(f"{HUB_URL}/a", {}) == f"{HUB_URL}/a"
    with pytest.raises(InvalidInputError, match="HF_ENDPOINT"):
        apply_endpoint(HUB_URL, {"HF_ENDPOINT": "node:8000"})


# --- TLS, proxies --------------------------------------------------------------------------------


@pytest.fixture
def tls_redirect(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """An https server with an own certificate; gives its URL, which redirects to a given one."""
    if shutil.which("openssl") is None:
        pytest.skip("makes its certificate with openssl")
    target: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", target[0])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    key, cert = tmp_path / "key.pem", tmp_path / "ca.pem"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    names = "-subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run(
        [*make.split(), *names.split(), "-keyout", key, "-out", cert],
        check=True,
        capture_output=True,
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()

    def url(location: str) -> str:
        target[:] = [location]
        return f"https://localhost:{server.server_address[1]}/file"

    yield url
    server.shutdown()
    server.server_close()
    thread.join()


def at(url: str) -> RemoteFile:
    return RemoteFile(
        name="config.json",
        size_bytes=len(SMALL),
        sha256_hex=hashlib.sha256(SMALL).hexdigest(),
        urls=[url],
    )


def test_unknown_certificate_is_final(tls_redirect: Callable[[str], str]) -> None:
    sleeps = Sleeps()
    with pytest.raises(RemoteError, match="certificate") as caught:
        download(at(tls_redirect("/")), MemorySink(), sleep=sleeps)
    assert not isinstance(caught.value, Transient)
    assert "REQUESTS_CA_BUNDLE" in (caught.value.hint or "")
    assert sleeps == []


def test_own_ca_and_no_downgrade(
    hub: Hub,
    tls_redirect: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with pytest.raises(RemoteError, match="https to http"):
        download(at(tls_redirect(hub.file_url("config.json"))), MemorySink())
    assert hub.requests == []


def test_ca_bundle_that_is_not_there(
    tls_redirect: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    with pytest.raises(RemoteError, match="CA bundle") as caught:
        download(at(tls_redirect("/")), MemorySink(), sleep=Sleeps())
    assert not isinstance(caught.value, Transient)


def test_proxy_of_the_environment(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            rest = self.path.removeprefix("http://")
            host, _, path = rest.partition("/")
            upstream = http.client.HTTPConnection(host)
            upstream.request("GET", "/" + path, headers={"Accept-Encoding": "identity"})
            answer = upstream.getresponse()
            body = answer.read()
            self.send_response(answer.status)
            for key, value in answer.getheaders():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_address[1]}")
    sink = MemorySink()
    download(pinned(hub), sink, sleep=Sleeps())
    server.shutdown()
    server.server_close()
    assert sink.data == BIG
    assert len(seen) == 2  # the redirect's target went through it, too


def test_proxy_that_is_not_there(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://me:pass-word@127.0.0.1:1")
    with pytest.raises(Transient, match="proxy") as caught:
        download(pinned(hub), MemorySink(), sleep=Sleeps())
    assert "pass-word" not in str(caught.value)


def test_comes_in_large_pieces(tmp_path: Path) -> None:
    """As large as the network brings them: byte by byte would take minutes."""
    big, sink = bytes(64 * 1024 * 1024), MemorySink()
    directory = make_directory(tmp_path / "large", big=big)
    with Hub(directory, repo=REPO, revision=REVISION) as hub:
        download(pinned(hub, data=big), sink)
    assert sink.data == big
    assert sink.pieces < 20_000
