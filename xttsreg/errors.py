"""Every error xttsreg raises on purpose, each with its exit code and a hint.

A message is one line that says what happened; ``hint`` is one line that says what to do next.
Bad content (`IntegrityError`) and bad transport (`RemoteError`) have different roots, because the
answer differs: content that is wrong stays wrong, a connection may be tried again.

The exit codes are an interface (see ``docs/exit-codes.md``): scripts branch on them.
"""

from __future__ import annotations

from collections.abc import Sequence


class XttsregError(Exception):
    """Root of all errors that a user may see.

    Args:
        message: One line, says what happened and names the file, reference or host.
        hint: One line, says what to do next; ``None`` takes the class's default.
    """

    exit_code: int = 1
    default_hint: str | None = None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint if hint is not None else self.default_hint


class SigningFailed(XttsregError):
    """A key could not be used: passphrase, agent or token."""


# --- 2: usage or bad input -------------------------------------------------------------------


class InvalidInputError(XttsregError, ValueError):
    """Something the user gave is malformed. Also a ValueError, so that pydantic collects it."""

    exit_code = 2


class InvalidDigest(InvalidInputError):
    """A digest is not ``sha256:`` and 64 lowercase hex digits."""


class InvalidReference(InvalidInputError):
    """A reference is not ``name[:tag][@sha256:...]``."""


class InvalidManifest(InvalidInputError):
    """A manifest, index or bundle listing does not follow its format."""


class InvalidCatalog(InvalidInputError):
    """A catalogue file is malformed or contradicts itself."""


class InvalidRecipe(InvalidInputError):
    """A bundle recipe is malformed."""


class InvalidDataset(InvalidInputError):
    """A dataset cannot be trained on."""


class InvalidModel(InvalidInputError):
    """A file or weight set is not of the kind the operation needs."""


class LicenseNotAccepted(InvalidInputError):
    """The terms of a weight set have not been accepted by anyone."""


class NewerFormat(InvalidInputError):
    """A bundle or store was written by a newer version with another format."""


class AlreadyExists(InvalidInputError):
    """A name is taken, and overwriting it was not asked for."""


# --- 3: not found ----------------------------------------------------------------------------


class NotFoundError(XttsregError):
    """Something that was named is not there."""

    exit_code = 3


class BlobNotFound(NotFoundError):
    """A blob that a manifest refers to is not in the store."""


class TagNotFound(NotFoundError):
    """No manifest has this tag."""


class WeightSetNotFound(NotFoundError):
    """The catalogue has no weight set of this name."""


class BaseMissing(NotFoundError):
    """What a thin bundle builds on is not in the store.

    Args:
        message: One line.
        missing: Digests of the blobs that are absent or damaged.
    """

    def __init__(self, message: str, *, missing: Sequence[str], hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.missing = list(missing)


# --- 4: integrity ----------------------------------------------------------------------------


class IntegrityError(XttsregError):
    """Bytes are not what they were promised to be. Trying again does not help by itself."""

    exit_code = 4


class DigestMismatch(IntegrityError):
    """The content hashes to another digest than expected."""

    def __init__(self, what: str, *, expected: str, actual: str, hint: str | None = None) -> None:
        super().__init__(f"{what}: digest is {actual}, expected {expected}", hint=hint)
        self.expected = expected
        self.actual = actual


class SizeMismatch(IntegrityError):
    """The content is shorter or longer than expected."""

    def __init__(
        self, what: str, *, expected_bytes: int, actual_bytes: int, hint: str | None = None
    ) -> None:
        super().__init__(
            f"{what}: size is {actual_bytes} bytes, expected {expected_bytes}", hint=hint
        )
        self.expected_bytes = expected_bytes
        self.actual_bytes = actual_bytes


class BundleMismatch(IntegrityError):
    """A bundle does not hold exactly what its listing says."""


class SignatureInvalid(IntegrityError):
    """A signature is not over these bytes, or not by somebody who is trusted."""


class SignatureMissing(IntegrityError):
    """Something is not signed, and whoever reads it wants it signed."""


class OlderBundle(IntegrityError):
    """A signer's bundle is older than one that came from the same signer before."""


class UnsafePath(IntegrityError, ValueError):
    """A file name would leave its directory, or cannot exist on some system."""

    default_hint = "nothing was written; ask whoever made this, it may be an attack"


class UnsafePickle(IntegrityError):
    """A checkpoint's pickle asks for code that is not on the allowlist."""


class RestoreIncomplete(IntegrityError):
    """After construction the model does not hold the checkpoint's tensors.

    Args:
        message: One line that names the parts concerned.
        missing: Names in the model that the checkpoint does not have.
        unexpected: Names in the checkpoint that the model does not have.
        different: Names that both have, with another shape or other values.
    """

    def __init__(
        self,
        message: str,
        *,
        missing: Sequence[str] = (),
        unexpected: Sequence[str] = (),
        different: Sequence[str] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.missing = list(missing)
        self.unexpected = list(unexpected)
        self.different = list(different)


# --- 5: store or disk ------------------------------------------------------------------------


class StoreError(XttsregError):
    """The store or its disk cannot do what is asked."""

    exit_code = 5


class StoreNotFound(StoreError):
    """There is no store at this place."""


class StoreLocked(StoreError):
    """Another process holds a lock for longer than we wait."""


class InsufficientSpace(StoreError):
    """The filesystem is too full."""

    def __init__(
        self, where: str, *, needed_bytes: int, free_bytes: int, hint: str | None = None
    ) -> None:
        told = f"{needed_bytes} bytes are needed, {free_bytes} are free"
        if needed_bytes <= free_bytes:
            told = f"no room, though {free_bytes} bytes are free: a quota, or too many files"
        super().__init__(
            f"{where}: {told}",
            hint=hint or "free some space (`xttsreg gc` helps), or use another --store",
        )
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes


class ReadOnlyMedia(StoreError):
    """The filesystem or directory does not accept writes."""


# --- 6: remote -------------------------------------------------------------------------------


class RemoteError(XttsregError):
    """A transfer failed.

    Args:
        message: One line.
        op: What was tried, e.g. ``GET``.
        url: Where, without credentials or query.
        status: HTTP status, if the server answered at all.
    """

    exit_code = 6

    def __init__(
        self,
        message: str,
        *,
        op: str = "",
        url: str = "",
        status: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.op = op
        self.url = url
        self.status = status


class Unauthorized(RemoteError):
    """The server wants other credentials (401, 403)."""


class Transient(RemoteError):
    """A failure that may pass: dropped connection, time-out, 408, 429, 5xx. Only this is retried.

    ``retry_after_s`` is the server's own wish in seconds, if it had one.
    """

    def __init__(
        self,
        message: str,
        *,
        op: str = "",
        url: str = "",
        status: int | None = None,
        retry_after_s: float | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, op=op, url=url, status=status, hint=hint)
        self.retry_after_s = retry_after_s


# --- 7, 8 ------------------------------------------------------------------------------------


class OfflineViolation(XttsregError):
    """Code tried to leave this machine while training was guarded."""

    exit_code = 7

    def __init__(self, *, host: str, caller: str, hint: str | None = None) -> None:
        super().__init__(
            f"{caller} tried to reach {host} while the network is cut off for this run",
            hint=hint or "give it local files instead; see docs/training.md, 'The guard'",
        )
        self.host = host
        self.caller = caller


class MissingDependency(XttsregError):
    """A part of xttsreg that is installed on demand is not there."""

    exit_code = 8

    def __init__(self, message: str, *, extra: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint or f"pip install 'xttsreg[{extra}]'")
        self.extra = extra
