"""The server: one handler for all paths, and what every answer has in common."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass

from aiohttp import web

from xttsreg.catalog import Catalog
from xttsreg.errors import BlobNotFound, XttsregError
from xttsreg.serve.access import Log, Token, log_line
from xttsreg.serve.answers import as_json, short
from xttsreg.serve.hub import Hub
from xttsreg.serve.metrics import Metrics
from xttsreg.serve.oci import Registry
from xttsreg.serve.pages.site import Site
from xttsreg.serve.paths import BadPath, split_path
from xttsreg.serve.proofs import Proofs
from xttsreg.serve.shelf import Shelf
from xttsreg.stores.layout import LayoutStore

_ABORTED = 499
"""What is logged for a client that went away; nginx's number for it."""
WARM_AGAIN_S = 10.0
"""How often the store is looked at for what has no record yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to serve.

    Attributes:
        token: Who knows it may read; None lets everybody.
        log: Takes one line a request, if anybody wants them.
        warm: Hash in the background what has no record yet.
    """

    token: str | None = None
    log: Log | None = None
    warm: bool = True


class App:
    """Everything that answers, over one store.

    Args:
        store: What is served. Nothing is written to it but records of verification.
        catalog: Says what has a name on the hub.
        options: How.
    """

    def __init__(self, store: LayoutStore, catalog: Catalog, options: Options) -> None:
        self.shelf, self.proofs, self.metrics = Shelf(store, catalog), Proofs(store), Metrics()
        self._hub = Hub(self.shelf, self.proofs)
        self._registry = Registry(self.shelf, self.proofs)
        self._site = Site(self.shelf, self.proofs, locked=options.token is not None)
        self._token, self._options = Token(options.token), options

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever it is, and write it down."""
        began_s, surface, status = time.monotonic(), "other", _ABORTED
        self.metrics.open_requests += 1
        try:
            surface, answer = await self._admit(request)
            status = answer.status
            return answer
        except (ConnectionError, TimeoutError, RuntimeError) as error:
            # The kernel gave up on who took nothing; asyncio raises RuntimeError for a transport
            # that closes under it.
            if request.transport and not request.transport.is_closing():
                if isinstance(error, RuntimeError):
                    raise
                request.transport.abort()
            self.metrics.aborted += 1
            return web.Response()
        except asyncio.CancelledError:
            self.metrics.aborted += 1
            raise
        finally:
            self.metrics.open_requests -= 1
            self.metrics.requests[surface, status] += 1
            sent_bytes = int(request.get("sent_bytes", 0))
            self.metrics.sent_bytes[surface] += sent_bytes
            if self._options.log:
                took_s = time.monotonic() - began_s
                self._options.log(log_line(request, status, sent_bytes, took_s))

    async def _admit(self, request: web.BaseRequest) -> tuple[str, web.StreamResponse]:
        """The surface that was asked, and its answer, unless the request is refused."""
        if request.method not in ("GET", "HEAD"):
            return "other", short(405, "read-only\n", {"Allow": "GET, HEAD"})
        try:
            path = split_path(request.raw_path)
        except BadPath as error:
            return "other", short(400, f"the path {error}\n")
        if path == ("healthz",):
            return "health", short(200, "ok\n")
        surface = {"v2": "oci", "metrics": "metrics", "-": "page"}.get(path[0] if path else "-")
        if not self._token.admits(request):
            # Clients of the hub look at the status alone; the others are asked for a password.
            challenge = {"WWW-Authenticate": 'Basic realm="xttsreg", charset="UTF-8"'}
            return surface or "hub", short(401, "a token is needed here\n", challenge)
        try:
            return surface or "hub", await self._route(request, path, surface)
        except BlobNotFound as error:
            return surface or "hub", _failed(f"{error.message}; ask who runs this server")
        except XttsregError as error:
            return surface or "hub", _failed(
                f"damaged in the store, so it is not sent: {error.message}"
            )

    async def _route(
        self, request: web.BaseRequest, path: tuple[str, ...], surface: str | None
    ) -> web.StreamResponse:
        if surface == "metrics":
            snapshot = await self.shelf.look()
            kind = "text/plain; version=0.0.4; charset=utf-8"
            return short(200, self.metrics.text(snapshot, self.proofs), kind=kind)
        if path[:1] == ("api",) and path[1:2] in (("models",), ("datasets",)):
            return await self._hub.api(request, path[1:])
        found = await self._hub.resolve(request, path)
        if found is not None:
            return found
        if surface == "oci":
            return await self._registry.answer(request, path[1:])
        if surface == "page":
            return await self._site.answer(request, path[1:])
        return await self._site.absent()

    async def keep_warm(self) -> None:
        """Hash in the background what has no record, now and whenever the store has changed."""
        seen: object = None
        while self._options.warm:
            with contextlib.suppress(XttsregError):  # who asks for something is told
                snapshot = await self.shelf.look()
                if snapshot is not seen:
                    await self.proofs.prove_all(snapshot.blobs())
                    seen = snapshot
            await asyncio.sleep(WARM_AGAIN_S)


def _failed(message: str) -> web.Response:
    shown = "".join(c if c.isascii() and c.isprintable() else "?" for c in message)
    return as_json({"error": message}, {"X-Error-Message": shown}, status=500)
