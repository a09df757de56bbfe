"""Download one pinned file from the first source that delivers it, resuming where it stopped.

The pin (size and sha256) is known before the first byte. What an answer says of itself (length,
range, the hub's ``X-Linked-ETag``) is held against it before anything is stored; the bytes are
hashed by the store, which refuses them at its commit if they are others. That is why a download
may go on from one source with what another one began.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence

import requests
from requests.auth import AuthBase

from xttsreg.errors import IntegrityError, RemoteError, Transient, Unauthorized, XttsregError
from xttsreg.remote.retry import ATTEMPTS, Sleep, pause_s
from xttsreg.remote.source import RemoteFile, Source
from xttsreg.remote.transport import Client, new_session
from xttsreg.remote.urls import HUB_URL
from xttsreg.stores.base import Sink

__all__ = ["RemoteFile", "Sink", "download"]

_GOOD_BYTES = 8 * 1024 * 1024


def _ignore(_: int) -> None:
    """Take a progress report and do nothing."""


def download(
    file: RemoteFile,
    sink: Sink,
    *,
    session: requests.Session | None = None,
    auth: AuthBase | None = None,
    auth_urls: Sequence[str] = (HUB_URL,),
    timeout_s: tuple[float, float] = (10.0, 60.0),
    attempts: int = ATTEMPTS,
    sleep: Sleep = time.sleep,
    advance: Callable[[int], None] = _ignore,
) -> str:
    """Fill the sink up to the file's size.

    Args:
        file: What to download.
        sink: Where to; what it holds already is not fetched again. Its content is hashed by its
            owner, not here.
        session: For connections to be kept; not to be shared between threads. Default: a new one.
        auth: Credentials, sent to the hosts of ``auth_urls`` only, never on to another one.
        auth_urls: Any URL of each host that they belong to.
        timeout_s: Seconds to connect, and seconds between two pieces of an answer.
        attempts: Tries in a row without progress before a source is given up.
        sleep: Waits that many seconds between tries.
        advance: Told the bytes as they come; negative when bytes are dropped.

    Returns:
        The URL of the source that delivered the last byte; empty if the sink was full already.

    Raises:
        IntegrityError: if a source has another file than the pinned one and none delivered.
        Unauthorized: if a source wants (other) credentials and none delivered.
        Transient: if the only source failed so each time.
        RemoteError: for anything else; after several sources it says what each one answered.
    """
    if sink.offset_bytes > file.size_bytes:
        advance(-sink.offset_bytes)
        sink.restart()
    if sink.offset_bytes == file.size_bytes:
        return ""
    failures: list[XttsregError] = []
    with contextlib.ExitStack() as stack:
        client = Client(
            session=session or stack.enter_context(new_session()),
            auth=auth,
            auth_urls=auth_urls,
            timeout_s=timeout_s,
        )
        for url in file.urls:
            source = Source(file=file, url=url, sink=sink, client=client, advance=advance)
            try:
                _persist(source, attempts=attempts, sleep=sleep)
                return url
            except (RemoteError, IntegrityError) as error:
                failures.append(error)
    raise _summary(file, failures)


def _persist(source: Source, *, attempts: int, sleep: Sleep) -> None:
    """Try one source until the sink is full, or it fails for good, or too often in a row.

    Progress is a new high-water mark and not just bytes: a server that ignores Range and breaks
    off at the same place would otherwise be tried for ever. A connection that has brought much was
    a good one, and the next is made at once.
    """
    best_bytes, failed = source.sink.offset_bytes, 0
    while True:
        try:
            source.attempt()
            return
        except Transient as error:
            brought_bytes = source.sink.offset_bytes - best_bytes
            if brought_bytes > 0:
                best_bytes, failed = source.sink.offset_bytes, 0
            if brought_bytes >= _GOOD_BYTES and error.retry_after_s is None:
                continue
            failed += 1
            if failed >= attempts:
                raise
            sleep(pause_s(error, failed))
        except IntegrityError:
            if source.delivered:
                source.restart()  # bytes of another file; the next source must not build on them
            raise


def _summary(file: RemoteFile, failures: Sequence[XttsregError]) -> XttsregError:
    """One error for all sources, of the kind that a user can do most about."""
    if not failures:
        return RemoteError(f"{file.name}: no source is known", op="GET")
    order = (IntegrityError, Unauthorized, RemoteError)
    chosen = next(e for kind in order for e in failures if isinstance(e, kind))
    told = "; ".join(error.message for error in failures)
    several = f"none of {len(failures)} sources has it: " if len(failures) > 1 else ""
    chosen.message = f"{file.name}: {several}{told}"
    chosen.args = (chosen.message,)
    return chosen
