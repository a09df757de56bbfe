"""Addresses of pages, and what is answered there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from aiohttp import web

from xttsreg.serve.answers import content_type, origin, send_blob, short
from xttsreg.serve.census import Census, take_census
from xttsreg.serve.pages.frame import REPORT_POLICY, Page, policy
from xttsreg.serve.pages.home import Wanted, home, search
from xttsreg.serve.pages.item import Scene, report_of, show
from xttsreg.serve.proofs import Proofs
from xttsreg.serve.shelf import Item, Shelf, Snapshot


class Site:
    """Answers what a browser asks.

    Args:
        shelf: What there is.
        proofs: Opens blobs, and knows what has been verified.
        locked: Whether readers need a token.
    """

    def __init__(self, shelf: Shelf, proofs: Proofs, *, locked: bool) -> None:
        self._shelf, self._proofs, self._locked = shelf, proofs, locked
        self._counted: tuple[Snapshot, Census] | None = None

    async def answer(self, request: web.BaseRequest, path: Sequence[str]) -> web.StreamResponse:
        """One request; ``path`` without the dash that pages begin with."""
        snapshot = await self._shelf.look()
        if not path:
            wanted = Wanted.parse(request.query)
            return await self._page(lambda: home(snapshot, self._census(snapshot), self._proofs,
                                                 wanted))  # fmt: skip
        what, rest = path[0], path[1:]
        item = snapshot.items.get("/".join(rest))
        if what == "show" and item:
            scene = self._scene(item, snapshot, origin(request))
            return await self._page(lambda: show(scene))
        if what == "report" and item:
            return await self._report_file(request, item, snapshot, "report.html")
        item = snapshot.items.get("/".join(rest[:-1]))
        if what == "sound" and item and rest[-1].endswith(".wav"):
            return await self._report_file(request, item, snapshot, rest[-1])
        return await self.absent()

    async def absent(self) -> web.Response:
        """The page for an address that leads nowhere."""
        page = Page(
            title="Not here",
            kind="xttsreg",
            heading="There is nothing here",
            summary="It may have had this name before, or the address has a slip.",
            content=search(Wanted()),
        )
        return await self._page(lambda: page, status=404)

    async def _page(self, make: Callable[[], Page], *, status: int = 200) -> web.Response:
        text = await asyncio.to_thread(lambda: make().html())
        headers = {
            "Content-Security-Policy": policy(),
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
        }
        return short(status, text, headers, kind="text/html; charset=utf-8")

    async def _report_file(
        self, request: web.BaseRequest, item: Item, snapshot: Snapshot, name: str
    ) -> web.StreamResponse:
        report = report_of(item, snapshot)
        layer = report.files().get(name) if report else None
        if layer is None:
            return await self.absent()
        page = name.endswith(".html")
        return await send_blob(
            request,
            self._proofs,
            layer,
            etag=layer.digest.hex,
            kind="text/html; charset=utf-8" if page else content_type(name),
            headers={"Content-Security-Policy": REPORT_POLICY} if page else {},
        )

    def _scene(self, item: Item, snapshot: Snapshot, origin: str) -> Scene:
        return Scene(
            item=item,
            snapshot=snapshot,
            census=self._census(snapshot),
            proofs=self._proofs,
            origin=origin,
            locked=self._locked,
        )

    def _census(self, snapshot: Snapshot) -> Census:
        counted = self._counted
        if counted is None or counted[0] is not snapshot:
            counted = self._counted = (snapshot, take_census(snapshot))
        return counted[1]
