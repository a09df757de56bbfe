"""The report about a voice, beside it in the store: the page, and its samples as sounds.

A report names the voice's digest, so it cannot be part of the voice. It is a manifest of its own
whose ``subject`` is the voice's (an OCI referrer), as acceptances are, and travels with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import EMPTY_BYTES, EMPTY_TYPE, MANIFEST_TYPE, Manifest
from xttsreg.content.modelpack import file_layer
from xttsreg.stores.base import Store

REPORT_TYPE = "application/vnd.xttsreg.report.v1+json"
REPORT_FILE = "report.html"
SENTENCE = "io.xttsreg.report.sentence"
"""What the samples say."""
ABOUT = "org.opencontainers.image.description"
"""On a layer that is a sample: what is heard."""


@dataclass(frozen=True, slots=True)
class Sound:
    """A sample.

    Attributes:
        name: File name.
        about: One line for people.
        data: A WAV file.
    """

    name: str
    about: str
    data: bytes


def hold_report(
    store: Store, subject: Descriptor, page: bytes, *, sentence: str = "", sounds: Sequence[Sound]
) -> Descriptor:
    """Put a report beside the manifest that it is about.

    Args:
        store: Where both are.
        subject: What it is about.
        page: The page, complete in itself.
        sentence: What the samples say.
        sounds: The samples, in their order.
    """
    with store.writing():
        layers = [_put(store, REPORT_FILE, page)]
        for sound in sounds:
            layer = _put(store, sound.name, sound.data)
            notes = {**layer.annotations, ABOUT: sound.about}
            layers.append(layer.model_copy(update={"annotations": notes}))
        report = Manifest(
            artifact_type=REPORT_TYPE,
            config=store.put_bytes(EMPTY_TYPE, EMPTY_BYTES),
            layers=tuple(layers),
            subject=subject.with_ref(None),
            annotations={SENTENCE: sentence} if sentence else {},
        )
        entry = store.put_bytes(MANIFEST_TYPE, report.to_bytes())
        store.hold(entry)
    return entry


def _put(store: Store, name: str, data: bytes) -> Descriptor:
    layer = file_layer(name, Digest.of(data), len(data))
    store.put_bytes(layer.media_type, data)
    return layer
