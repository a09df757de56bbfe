"""An OCI registry as a place to copy to and from. Source: OCI distribution-spec v1.1.

Bound to one repository, so its tags are ``repository:tag``. Everything is by digest but the two
ends: a tag is resolved once, and set last. What comes is hashed by whoever takes it in; what goes
is hashed here and by the registry.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, cast
from urllib.parse import urljoin

from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import INDEX_TYPE, MANIFEST_TYPE, Manifest
from xttsreg.content.reference import Reference
from xttsreg.content.stream import Advance, Readable, no_advance, read_verified
from xttsreg.errors import (
    BlobNotFound,
    DigestMismatch,
    InvalidManifest,
    RemoteError,
    SizeMismatch,
    TagNotFound,
    Unauthorized,
)
from xttsreg.remote import upload
from xttsreg.remote.address import Address
from xttsreg.remote.connection import (
    MANIFEST_LIMIT_BYTES,
    Connection,
    Options,
    read_object,
)
from xttsreg.remote.download import download
from xttsreg.remote.referrers import Referrers
from xttsreg.remote.retry import Sleep, watched
from xttsreg.remote.source import RemoteFile
from xttsreg.remote.urls import redact
from xttsreg.stores.base import Sink

_MANIFESTS = (MANIFEST_TYPE, INDEX_TYPE)
_ACCEPT = ", ".join(
    [*_MANIFESTS, "application/vnd.docker.distribution.manifest.v2+json",
     "application/vnd.docker.distribution.manifest.list.v2+json"]
)  # fmt: skip


class RegistryStore:
    """One repository of a registry.

    Args:
        address: Where; its tag and digest do not matter here.
        options: How.
        writable: Whether to ask for the right to write.
        elsewhere: Guesses which other repository of the registry has a blob, to mount it.
    """

    def __init__(
        self,
        address: Address,
        options: Options | None = None,
        *,
        writable: bool = False,
        elsewhere: Callable[[Digest], str | None] = lambda _: None,
    ) -> None:
        self.connection = Connection(address, options or Options(), writable=writable)
        self.repository = address.reference.name
        self._where = f"{address.host}/{self.repository}"
        self._elsewhere = elsewhere
        self._referrers = Referrers(self.connection, self._get_bytes, self._put_manifest)
        self._manifests: dict[Digest, bytes] = {}

    # --- reading -----------------------------------------------------------------------------

    def resolve(self, identifier: str) -> Descriptor:
        """The descriptor of the manifest that a tag or digest means now.

        Raises:
            TagNotFound: there is none.
            DigestMismatch: the registry says one digest and sends another.
            InvalidManifest: what it sends is not a manifest of ours.
        """
        data, media_type, told = self.connection.retry(lambda: self._get_manifest(identifier))
        digest = Digest.of(data)
        for promised in (told, identifier if identifier.startswith("sha256:") else ""):
            if promised and promised != digest:
                raise DigestMismatch(
                    f"{self._where}: manifest {identifier}",
                    expected=promised,
                    actual=digest,
                    hint="the registry, or something before it, sends other bytes than it should",
                )
        if media_type not in _MANIFESTS:
            raise InvalidManifest(
                f"{self._where}:{identifier}: is {media_type or 'unknown'}",
                hint="only OCI manifests are read; `skopeo copy --format oci` converts images",
            )
        self._manifests[digest] = data
        manifest = Manifest.parse(data, identifier) if media_type == MANIFEST_TYPE else None
        return Descriptor(
            media_type=media_type,
            digest=digest,
            size_bytes=len(data),
            artifact_type=manifest.artifact_type if manifest else None,
        )

    def _get_manifest(self, identifier: str) -> tuple[bytes, str, str]:
        url = self.connection.url(f"manifests/{identifier}")
        with self.connection.call("GET", url, {"Accept": _ACCEPT}, ok=(200, 404)) as answer:
            if answer.status_code == 404:
                raise TagNotFound(
                    f"{self._where}:{identifier}: not in the registry",
                    hint="check the name and the tag; a private one needs `xttsreg login` as well",
                )
            data = answer.raw.read(MANIFEST_LIMIT_BYTES + 1, decode_content=True)
            if len(data) > MANIFEST_LIMIT_BYTES:
                raise InvalidManifest(f"{redact(url)}: larger than a manifest may be")
            media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            if media_type == "text/html":
                raise RemoteError(
                    f"{redact(url)}: answered with a web page instead of a manifest",
                    hint="that is no registry's answer: check the address, and proxies",
                )
            return data, media_type, answer.headers.get("Docker-Content-Digest", "")

    def has(self, blob: Descriptor, *, advance: Advance = no_advance) -> bool:
        """Whether the registry says that it has the blob, in this size.

        It checked the digest when it took the blob in; what it sends is hashed again.
        """
        sleep = watched(self.connection.options.sleep, advance)
        return self._size_of(blob, sleep) in (-1, blob.size_bytes)

    def _size_of(self, blob: Descriptor, sleep: Sleep) -> int | None:
        """What the registry says is the blob's size: None if it has none, -1 if it does not say."""
        kind = "manifests" if blob.media_type in _MANIFESTS else "blobs"
        url = self.connection.url(f"{kind}/{blob.digest}")
        headers = {"Accept": _ACCEPT}
        with self.connection.ask("HEAD", url, headers, ok=(200, 404), sleep=sleep) as answer:
            length = answer.headers.get("Content-Length", "")
            return None if answer.status_code == 404 else int(length) if length.isdigit() else -1

    def open(self, blob: Descriptor) -> BinaryIO:
        """The blob's bytes, not yet verified. See `base.BlobSource.open`."""
        if blob.media_type in _MANIFESTS:
            return io.BytesIO(self._manifest_bytes(blob.digest))
        url = self.connection.url(f"blobs/{blob.digest}")
        answer = self.connection.ask("GET", url, ok=(200, 404))
        if answer.status_code == 404:
            answer.close()
            raise self._blob_not_found(blob)
        answer.raw.decode_content = False
        return cast(BinaryIO, answer.raw)

    def _blob_not_found(self, blob: Descriptor) -> BlobNotFound:
        return BlobNotFound(
            f"blob {blob.digest} is not in {self._where}",
            hint="the registry has lost it; push the set again from where it is whole",
        )

    def _manifest_bytes(self, digest: Digest) -> bytes:
        if digest not in self._manifests:
            try:
                self.resolve(digest)
            except TagNotFound:
                raise BlobNotFound(f"manifest {digest} is not in {self._where}") from None
        return self._manifests[digest]

    def fill(
        self, blob: Descriptor, sink: Sink, *, sleep: Sleep, advance: Advance = no_advance
    ) -> None:
        """Bring a blob into a sink, from where the sink is. See `base.ResumableSource.fill`."""
        if blob.media_type in _MANIFESTS:
            sink.restart()
            sink.write(self._manifest_bytes(blob.digest))
            return
        file = RemoteFile(
            name=f"blob {blob.digest.short}",
            size_bytes=blob.size_bytes,
            sha256_hex=blob.digest.hex,
            urls=[self.connection.url(f"blobs/{blob.digest}")],
        )
        refused = 0
        while sink.offset_bytes < blob.size_bytes:
            self._require(blob, sleep)  # also answers the challenge, and renews what has expired
            before_bytes = sink.offset_bytes
            try:
                download(
                    file,
                    sink,
                    session=self.connection.session,
                    auth=self.connection.auth,
                    auth_urls=[self.connection.base],
                    timeout_s=self.connection.options.timeout_s,
                    attempts=self.connection.options.attempts,
                    sleep=sleep,
                    advance=advance,
                )
            except Unauthorized as error:
                error.hint = self.connection.unauthorized_hint
                refused = 0 if sink.offset_bytes > before_bytes else refused + 1
                if refused >= self.connection.options.attempts:
                    raise

    def _require(self, blob: Descriptor, sleep: Sleep) -> None:
        size_bytes = self._size_of(blob, sleep)
        if size_bytes is None:
            raise self._blob_not_found(blob)
        if size_bytes not in (-1, blob.size_bytes):
            raise SizeMismatch(
                f"blob {blob.digest.short} in {self._where}",
                expected_bytes=blob.size_bytes,
                actual_bytes=size_bytes,
            )

    # --- writing -----------------------------------------------------------------------------

    def put(self, blob: Descriptor, source: Readable, advance: Advance = no_advance) -> None:
        """Take a blob in. See `base.Target.put`."""
        self.stage(blob, source, advance)()

    def stage(
        self, blob: Descriptor, source: Readable, advance: Advance = no_advance
    ) -> Callable[[], None]:
        """Take a blob in: it has no name there before a manifest needs it, which comes last."""
        if blob.media_type in _MANIFESTS:
            data = read_verified(source, blob)
            advance(len(data))
            return lambda: self._put_manifest(blob.digest, blob.media_type, data)
        if self.mount(blob):
            advance(blob.size_bytes)
        else:
            upload.upload(self.connection, blob, source, advance)
        return lambda: None

    def mount(self, blob: Descriptor) -> bool:
        """Take a blob from another repository of this registry, without sending it; if it can."""
        repository = self._elsewhere(blob.digest)
        if repository in (None, self.repository):
            return False
        url = self.connection.url(f"blobs/uploads/?mount={blob.digest}&from={repository}")
        also = f"repository:{repository}:pull"
        try:
            with self.connection.call("POST", url, ok=(201, 202), also=also) as answer:
                mounted = answer.status_code == 201
                if not mounted:  # the registry began an upload instead; we begin our own
                    upload.cancel(self.connection, answer)
                return mounted
        except RemoteError:
            return False  # it was only a shortcut

    def put_bytes(self, media_type: str, data: bytes) -> Descriptor:
        """Take small content in and describe it."""
        blob = Descriptor(media_type=media_type, digest=Digest.of(data), size_bytes=len(data))
        if not self.has(blob):
            self.put(blob, io.BytesIO(data))
        return blob

    def _put_manifest(self, identifier: str, media_type: str, data: bytes) -> None:
        url = self.connection.url(f"manifests/{identifier}")

        headers = {"Content-Type": media_type}
        with self.connection.ask("PUT", url, headers, data, ok=(201,)) as answer:
            told = answer.headers.get("Docker-Content-Digest", "")
        if told and told != Digest.of(data):
            raise DigestMismatch(redact(url), expected=Digest.of(data), actual=told)
        self._manifests[Digest.of(data)] = data

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Nothing to hold: a registry's own collector spares what is new."""
        yield

    def entries(self) -> tuple[Descriptor, ...]:
        """Every tagged manifest of the repository, and what speaks about them."""
        tagged = [entry.with_ref(name) for name, entry in self.tags().items()]
        held = [e for entry in {t.digest: t for t in tagged}.values()
                for e, _ in self.referrers(entry.digest)]  # fmt: skip
        return (*tagged, *{e.digest: e for e in held}.values())

    def tags(self) -> Mapping[str, Descriptor]:
        """``repository:tag`` to manifest, sorted; tags of another grammar are left out."""
        names = sorted(tag for tag in self._tag_names() if not tag.startswith("sha256-"))
        return {f"{self.repository}:{tag}": self.resolve(tag) for tag in names}

    def _tag_names(self) -> Iterator[str]:
        url: str | None = self.connection.url("tags/list?n=1000")
        while url:
            with self.connection.ask("GET", url, ok=(200, 404)) as answer:
                if answer.status_code == 404:
                    return
                value = read_object(answer, url)
                yield from (str(tag) for tag in value.get("tags") or [])
                link = answer.headers.get("Link", "")
                match = re.search(r"<([^>]+)>\s*;\s*rel=\"?next\"?", link)
                url = urljoin(url, match[1]) if match else None

    def tag(self, tagged: str, manifest: Descriptor) -> None:
        """Point a tag at a manifest that is in the repository."""
        reference = Reference.parse(tagged)
        assert reference.name == self.repository, "a registry store is bound to one repository"
        data = self._manifest_bytes(manifest.digest)
        self._put_manifest(reference.tag, manifest.media_type, data)

    def hold(self, manifest: Descriptor) -> None:
        """Make a manifest that speaks about another one findable. See `base.Target.hold`."""
        self._manifest_bytes(manifest.digest)
        self._referrers.add(manifest)

    def referrers(self, subject: Digest) -> list[tuple[Descriptor, Manifest]]:
        """See `base.Source.referrers`."""
        return self._referrers.of(subject)

    def _get_bytes(self, identifier: str) -> bytes:
        if identifier in self._manifests:
            return self._manifests[Digest(identifier)]
        return self._manifests[self.resolve(identifier).digest]
