"""What an OCI registry answers to who pulls. Source: OCI distribution-spec v1.1, "Pull"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import INDEX_TYPE, Manifest
from xttsreg.errors import InvalidDigest
from xttsreg.serve.answers import as_json, send_blob
from xttsreg.serve.proofs import Proofs
from xttsreg.serve.shelf import Shelf, Snapshot

_API = {"Docker-Distribution-Api-Version": "registry/2.0"}


class Registry:
    """Answers what clients of registries ask below ``/v2/``.

    Args:
        shelf: What there is.
        proofs: Opens blobs.
    """

    def __init__(self, shelf: Shelf, proofs: Proofs) -> None:
        self._shelf, self._proofs = shelf, proofs

    async def answer(self, request: web.BaseRequest, path: Sequence[str]) -> web.StreamResponse:
        """One request; ``path`` is what follows ``/v2/``."""
        snapshot = await self._shelf.look()
        if not path:
            return as_json({}, _API)
        own = {item.repo for item in snapshot.items.values()}
        if path == ("_catalog",):
            return _page(request, "repositories", sorted(own), {})
        repo = "/".join(path[:-2])
        if len(path) < 3 or repo not in own:
            return _error(404, "NAME_UNKNOWN", f"there is no {repo[:200]} in this store")
        what, which = path[-2:]
        if (what, which) == ("tags", "list"):
            return _page(request, "tags", _tags(snapshot, repo), {"name": repo})
        if what == "manifests":
            entry = _manifest(snapshot, repo, which)
            if entry is None:
                return _error(404, "MANIFEST_UNKNOWN", f"{repo} has no {which[:100]}")
            return await self._send(request, entry, entry.media_type)
        if what == "blobs":
            blob = _blob(snapshot, repo, which)
            if blob is None:
                return _error(404, "BLOB_UNKNOWN", f"{repo} has no {which[:100]}")
            return await self._send(request, blob, "application/octet-stream")
        if what == "referrers":
            return _referrers(request, snapshot, which)
        return _error(404, "UNSUPPORTED", "there is nothing under this name")

    async def _send(
        self, request: web.BaseRequest, blob: Descriptor, kind: str
    ) -> web.StreamResponse:
        headers = {**_API, "Docker-Content-Digest": blob.digest}
        return await send_blob(
            request, self._proofs, blob, etag=blob.digest, kind=kind, headers=headers
        )


def _tags(snapshot: Snapshot, repo: str) -> list[str]:
    return sorted(item.tag for item in snapshot.items.values() if item.repo == repo)


def _manifests(snapshot: Snapshot, repo: str) -> dict[Digest, tuple[Descriptor, Manifest]]:
    """Every manifest of a repository: the tagged ones, and those that speak about them."""
    found = {}
    for item in snapshot.repos[repo].values():
        found[item.entry.digest] = (item.entry, item.manifest)
        for entry, manifest in snapshot.referrers.get(item.entry.digest, []):
            found[entry.digest] = (entry, manifest)
    return found


def _manifest(snapshot: Snapshot, repo: str, which: str) -> Descriptor | None:
    tagged = snapshot.items.get(f"{repo}:{which}")
    if tagged:
        return tagged.entry
    digest = _digest(which)
    found = _manifests(snapshot, repo).get(digest) if digest else None
    return found[0] if found else None


def _blob(snapshot: Snapshot, repo: str, which: str) -> Descriptor | None:
    digest = _digest(which)
    for entry, manifest in _manifests(snapshot, repo).values():
        for blob in (entry, *manifest.blobs()):
            if blob.digest == digest:
                return blob
    return None


def _digest(text: str) -> Digest | None:
    try:
        return Digest(text)
    except InvalidDigest:
        return None


def _referrers(request: web.BaseRequest, snapshot: Snapshot, which: str) -> web.Response:
    digest = _digest(which)
    if digest is None:
        return _error(400, "DIGEST_INVALID", "not a sha256 digest")
    wanted = request.query.get("artifactType")
    told = []
    for entry, manifest in snapshot.referrers.get(digest, []):
        if wanted in (None, manifest.artifact_type):
            described = {**entry.to_json(), "artifactType": manifest.artifact_type}
            told.append({**described, "annotations": dict(manifest.annotations)})
    headers = {**_API, **({"OCI-Filters-Applied": "artifactType"} if wanted else {})}
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": told}
    return as_json(index, {**headers, "Content-Type": INDEX_TYPE})


def _page(
    request: web.BaseRequest, key: str, names: list[str], more: dict[str, Any]
) -> web.Response:
    """A list, or the part of it that ``n`` and ``last`` ask for."""
    names = [name for name in names if name > request.query.get("last", "")]
    wanted, headers = request.query.get("n", ""), dict(_API)
    if wanted.isdecimal() and len(names) > int(wanted[:9]) > 0:
        names = names[: int(wanted[:9])]
        path = request.raw_path.partition("?")[0]
        headers["Link"] = f'<{path}?n={len(names)}&last={names[-1]}>; rel="next"'
    return as_json({**more, key: names}, headers)


def _error(status: int, code: str, message: str) -> web.Response:
    return as_json({"errors": [{"code": code, "message": message}]}, _API, status=status)
