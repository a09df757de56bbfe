"""Who may bring a bundle into a store: asked before anything of it is parsed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from xttsreg.content.bundle import SUMS, Bundle
from xttsreg.errors import SignatureInvalid
from xttsreg.ops import received
from xttsreg.ops.received import Received
from xttsreg.ops.signing import BUNDLE_NAMESPACE
from xttsreg.ops.trust import UNSIGNED, Origin, Trust
from xttsreg.stores.layout import LayoutStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What may come in, and what it may do.

    Attributes:
        trust: Whose signatures count.
        allow_older: Take a bundle that is older than one that came from the same signer before.
        allow_globals: What pickles may name besides what XTTS's own do; noted beside the set.
        force: Names that the store uses for something else are moved.
    """

    trust: Trust = Trust()
    allow_older: bool = False
    allow_globals: Collection[str] = ()
    force: bool = False


CAREFUL = Policy()
"""Signatures of anybody, and nothing else that is out of the ordinary."""


@dataclass(slots=True)
class Gate:
    """The rules for one volume that comes in.

    Attributes:
        policy: The rules.
        origin: Of the volume that was looked at.
    """

    policy: Policy
    origin: Origin = UNSIGNED

    def check(self, sums: bytes, signature: bytes | None) -> None:
        """Hold the bytes of ``SHA256SUMS`` against their signature; nothing was parsed so far.

        Raises:
            SignatureMissing, SignatureInvalid, MissingDependency: as `Trust.authenticate`.
        """
        self.origin = self.policy.trust.authenticate(sums, signature, BUNDLE_NAMESPACE, what=SUMS)

    def admit(self, store: LayoutStore, bundle: Bundle) -> None:
        """Make sure that nobody plays back an old bundle. The lists are proven by now.

        Raises:
            OlderBundle: a newer one of the same key is known, and that was not asked for.
        """
        if self.origin.signer and not self.policy.allow_older:
            received.require_newest(store, self.origin.signer, _brief(bundle))

    def record(self, store: LayoutStore, bundle: Bundle) -> None:
        """Remember the bundle. To be called when all of it is proven, before its names appear."""
        if self.origin.signer:
            received.record(store, self.origin.signer, _brief(bundle))


def require_one_signer(origins: Mapping[int, Origin]) -> None:
    """Make sure that all volumes of a bundle have one signer, or none.

    Args:
        origins: By number of the volume.

    Raises:
        SignatureInvalid: they differ; says who signed which.
    """
    keys = {origin.signer.fingerprint if origin.signer else "" for origin in origins.values()}
    if len(keys) > 1:
        said = ", ".join(
            f"volume {number} is {origin}" for number, origin in sorted(origins.items())
        )
        raise SignatureInvalid(
            f"the volumes of this bundle are not all from one signer: {said}",
            hint="nothing got a name; import those volumes again as their maker signed them",
        )


def _brief(bundle: Bundle) -> Received:
    return Received(sequence=bundle.sequence, bundle_id=bundle.bundle_id, created=bundle.created)
