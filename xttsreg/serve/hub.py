"""The Hugging Face hub's read surface, so that its own clients work with ``HF_ENDPOINT`` set.

Source: what huggingface_hub 0.36, 1.33 and 2.4 ask for, and what they need of the answers. Files
are answered directly and never redirected; there are no Xet headers, so clients use plain HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote, urlencode

from aiohttp import web

from xttsreg.content.descriptor import CREATED, Descriptor
from xttsreg.content.hub import git_blob_id, is_large, pointer
from xttsreg.content.modelpack import LICENSES
from xttsreg.serve.answers import as_json, content_type, origin, send_blob
from xttsreg.serve.proofs import Proofs
from xttsreg.serve.shelf import Item, Shelf, Snapshot

PAGE_FILES = 1000
"""Entries of a tree in one answer, as on the hub."""


class Hub:
    """Answers what clients of the hub ask.

    Args:
        shelf: What there is.
        proofs: Opens blobs.
    """

    def __init__(self, shelf: Shelf, proofs: Proofs) -> None:
        self._shelf, self._proofs = shelf, proofs
        self._git_ids: dict[str, str] = {}

    async def api(self, request: web.BaseRequest, path: Sequence[str]) -> web.StreamResponse:
        """``/api/models`` and ``/api/datasets``, and what is below."""
        snapshot = await self._shelf.look()
        datasets, rest = path[0] == "datasets", tuple(path[1:])
        if not rest:
            return as_json([_summary(item) for item in snapshot.items.values()
                            if (item.kind == "dataset") == datasets])  # fmt: skip
        for place, word in enumerate(rest):
            repo = "/".join(rest[:place])
            if word == "refs" and repo in snapshot.repos and place == len(rest) - 1:
                return as_json(_refs(snapshot.repos[repo]))
            if word in ("revision", "tree") and repo in snapshot.repos and place + 1 < len(rest):
                item = snapshot.find(repo, rest[place + 1])
                if item is None:
                    return _no_revision(snapshot, repo, rest[place + 1])
                if word == "revision":
                    return await self._info(request, repo, item)
                return await self._tree(request, item, "/".join(rest[place + 2 :]))
        return await self._without_revision(request, snapshot, "/".join(rest))

    async def _without_revision(
        self, request: web.BaseRequest, snapshot: Snapshot, repo: str
    ) -> web.StreamResponse:
        if repo not in snapshot.repos:
            return _no_repo(repo)
        item = snapshot.find(repo, "main")
        return await self._info(request, repo, item) if item else _no_revision(
            snapshot, repo, "main"
        )  # fmt: skip

    async def resolve(
        self, request: web.BaseRequest, path: Sequence[str]
    ) -> web.StreamResponse | None:
        """``/{repo}/resolve/{revision}/{file}``; None if the path is not of this form."""
        if path[:1] == ("datasets",) and path[1:2] != ("resolve",):
            path = path[1:]
        if "resolve" not in path[1:]:
            return None
        snapshot = await self._shelf.look()
        for place, word in enumerate(path):
            repo = "/".join(path[:place])
            if word == "resolve" and repo in snapshot.repos and place + 2 < len(path):
                revision, name = path[place + 1], "/".join(path[place + 2 :])
                item = snapshot.find(repo, revision)
                if item is None:
                    return _no_revision(snapshot, repo, revision)
                return await self._file(request, item, name)
        return _no_repo("/".join(path[: path.index("resolve", 1)]))

    async def _file(self, request: web.BaseRequest, item: Item, name: str) -> web.StreamResponse:
        layer = item.files.get(name)
        if layer is None:
            return _refusal("EntryNotFound", f"{item.tagged} has no file {name}", item.commit)
        headers = {"X-Repo-Commit": item.commit, "Content-Disposition": _disposition(name)}
        if is_large(name, layer.size_bytes):
            etag = layer.digest.hex
            headers["X-Linked-ETag"] = f'"{etag}"'
            headers["X-Linked-Size"] = str(layer.size_bytes)
        else:
            etag = await self._git_id(layer)
        return await send_blob(
            request, self._proofs, layer, etag=etag, kind=content_type(name), headers=headers
        )

    async def _info(self, request: web.BaseRequest, repo: str, item: Item) -> web.StreamResponse:
        blobs = request.query.get("blobs", "").lower() in ("1", "true")
        siblings = []
        for name, layer in item.files.items():
            told = {"rfilename": name, "size": layer.size_bytes}
            siblings.append({**told, **(await self._ids(name, layer, "blobId") if blobs else {})})
        return as_json({**_summary(item), "id": repo, "modelId": repo, "siblings": siblings})

    async def _tree(self, request: web.BaseRequest, item: Item, under: str) -> web.StreamResponse:
        recursive = request.query.get("recursive", "").lower() in ("1", "true")
        entries = list_tree(item.files, under, recursive=recursive)
        if entries is None:
            return _refusal("EntryNotFound", f"{item.tagged} has no folder {under}", item.commit)
        names = [name for name in sorted(entries) if name > request.query.get("cursor", "")]
        told = []
        for name in names[:PAGE_FILES]:
            layer = entries[name]
            if layer is None:
                told.append({"type": "directory", "oid": "0" * 40, "size": 0, "path": name})
            else:
                size = {"type": "file", "size": layer.size_bytes, "path": name}
                told.append({**size, **await self._ids(name, layer, "oid")})
        headers = {"X-Repo-Commit": item.commit}
        if len(names) > PAGE_FILES:
            query = urlencode({**request.query, "cursor": names[PAGE_FILES - 1]})
            path = request.raw_path.partition("?")[0]
            headers["Link"] = f'<{origin(request)}{path}?{query}>; rel="next"'
        return as_json(told, headers)

    async def _ids(self, name: str, layer: Descriptor, key: str) -> dict[str, Any]:
        """How git and LFS call a file; ``key`` is where git's name goes."""
        if not is_large(name, layer.size_bytes):
            return {key: await self._git_id(layer)}
        stub = pointer(layer.digest, layer.size_bytes)
        lfs = {"size": layer.size_bytes, "pointerSize": len(stub)}
        sha256 = {"oid": layer.digest.hex} if key == "oid" else {"sha256": layer.digest.hex}
        return {key: git_blob_id(stub), "lfs": {**sha256, **lfs}}

    async def _git_id(self, layer: Descriptor) -> str:
        known = self._git_ids.get(layer.digest)
        if known is None:
            known = self._git_ids[layer.digest] = git_blob_id(await self._proofs.read(layer))
        return known


def list_tree(
    files: Mapping[str, Descriptor], under: str, *, recursive: bool
) -> dict[str, Descriptor | None] | None:
    """Files below a folder, and with them the folders (None); None if there is no such folder.

    Not recursive, only what lies directly in it.
    """
    prefix = f"{under}/" if under else ""
    found: dict[str, Descriptor | None] = {}
    for name, layer in files.items():
        if not name.startswith(prefix):
            continue
        parts = name.removeprefix(prefix).split("/")
        for depth in range(1, len(parts)):
            found[prefix + "/".join(parts[:depth])] = None
        found[name] = layer
    if under and not found:
        return None
    if not recursive:
        found = {name: it for name, it in found.items() if "/" not in name.removeprefix(prefix)}
    return found


def _summary(item: Item) -> dict[str, Any]:
    told: dict[str, Any] = {
        "_id": item.commit[:24],
        "id": item.repo,
        "modelId": item.repo,
        "sha": item.commit,
        "private": False,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [f"xttsreg:{item.kind}", f"xttsreg:tag:{item.tag}"],
    }
    if licence := item.manifest.annotations.get(LICENSES):
        told["tags"].append(f"license:{licence}")
    if when := _hub_time(item.manifest.annotations.get(CREATED, "")):
        told["lastModified"] = told["createdAt"] = when
    return told


def _hub_time(text: str) -> str | None:
    """A time as the hub writes it; older clients parse nothing else."""
    try:
        when = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    if when.tzinfo is None:
        return None
    return when.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _refs(tags: Mapping[str, Item]) -> dict[str, Any]:
    def told(item: Item, kind: str) -> dict[str, str]:
        return {"name": item.tag, "ref": f"refs/{kind}/{item.tag}", "targetCommit": item.commit}

    return {
        "branches": [told(item, "heads") for item in tags.values() if item.tag == "main"],
        "tags": [told(item, "tags") for item in tags.values() if item.tag != "main"],
        "converts": [],
    }


def _disposition(name: str) -> str:
    return f"inline; filename*=UTF-8''{quote(name.rpartition('/')[2], safe='')}"


def _no_repo(repo: str) -> web.Response:
    return _refusal("RepoNotFound", f"there is no {repo[:200]} in this store")


def _no_revision(snapshot: Snapshot, repo: str, revision: str) -> web.Response:
    there = ", ".join(list(snapshot.repos[repo])[:5])
    return _refusal("RevisionNotFound", f"{repo} has no {revision[:100]}; it has {there}")


def _refusal(code: str, message: str, commit: str | None = None) -> web.Response:
    shown = "".join(c if c.isascii() and c.isprintable() else "?" for c in message)
    headers = {"X-Error-Code": code, "X-Error-Message": shown}
    if commit:
        headers["X-Repo-Commit"] = commit
    return as_json({"error": message}, headers, status=404)
