"""Makes what `test_golden.py` reads: a store and a bundle, as this version writes them.

Run once for every version of the formats, ``python tests/golden/make.py tests/golden/vN`` with
``tests`` on the path, and never again: what is here must be read for ever. The content is made up,
and the same on every machine. Only the signature is made by hand, with a key that is thrown away:
``ssh-keygen -Y sign -f KEY -n xttsreg-bundle-v1 vN/stick/SHA256SUMS``; ``vN/allowed_signers`` has
its public half.
"""

from __future__ import annotations

import contextlib
import io
import random
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from unittest import mock

from support import catalog_for, checkpoint

from xttsreg.catalog import Catalog
from xttsreg.content.bundle import Bundle
from xttsreg.content.digest import Digest
from xttsreg.content.environment import (
    WHEEL_TYPE,
    EnvironmentConfig,
    Wheel,
)
from xttsreg.content.manifest import Manifest
from xttsreg.content.reference import Reference
from xttsreg.ops import globals as allowances
from xttsreg.ops import licensing
from xttsreg.ops.add import add
from xttsreg.ops.bundle import Media, bundle
from xttsreg.ops.datasets import add_dataset
from xttsreg.ops.environment.make import put_environment
from xttsreg.ops.inventory import take_inventory
from xttsreg.ops.lineage import Lineage, load_base, register_voice
from xttsreg.stores.base import read_manifest
from xttsreg.stores.layout import LayoutStore

WEIGHTS, VOICE, CLIPS = "small:main", "me:v1", "clips:v1"
ENVIRONMENT = "environment:core-cp311-manylinux_2_17_x86_64"
FOREIGN = "numpy.core.multiarray.scalar"
WHEN = "2026-01-02T03:04:05Z"
# A little longer than install.py, which no stick can split: so that this file travels in parts.
SIZES = {
    "model.pth": 23_600, "dvae.pth": 700, "mel_stats.pth": 400, "vocab.json": 300,
    "config.json": 200, "speakers_xtts.pth": 500, "LICENSE.txt": 150,
}  # fmt: skip
_FILE_BYTES = 23_000
_PICKLE = b"\x80\x02cnumpy.core.multiarray\nscalar\n."


def make_weights(directory: Path, seed: str) -> Path:
    """Files of a set; the speakers' pickle names something that has to be allowed."""
    directory.mkdir()
    for name, size in SIZES.items():
        chance = random.Random(f"{seed} {name}")
        pickled = _PICKLE if name == "speakers_xtts.pth" else b"\x80\x02}."
        data = (
            checkpoint(chance, size, pickled) if name.endswith(".pth") else chance.randbytes(size)
        )
        (directory / name).write_bytes(data)
    return directory


def make_store(store: LayoutStore, scratch: Path) -> None:
    """One of everything: a set with terms, a voice, a dataset, an environment, notes."""
    weights = make_weights(scratch / "weights", "golden")
    catalog = Catalog.load(catalog_for(scratch / "catalog", weights, required=True))
    yes = licensing.Acceptance(by="somebody", at=WHEN, how="prompt")
    with (
        mock.patch.object(licensing, "accepted_now", return_value=yes),
        mock.patch.object(allowances, "current_user", return_value="somebody"),
    ):
        add(store, Reference.parse(WEIGHTS), weights, catalog, ask=lambda _: "prompt",
            allow_globals=[FOREIGN])  # fmt: skip
    _, base = load_base(store, Reference.parse(WEIGHTS))
    voice = make_weights(scratch / "voice", "voice")
    for path in weights.iterdir():
        if path.name not in ("model.pth", "config.json"):
            shutil.copy(path, voice)
    (voice / "model.pth").write_bytes(checkpoint(random.Random("voice"), 800))
    (voice / "training.json").write_text("{}")
    lineage = Lineage(
        dataset_digest=str(Digest.of(b"clips")), config_path="training.json", created=WHEN,
        author="somebody", facts={"steps": "3"},
    )  # fmt: skip
    register_voice(store, Reference.parse(VOICE), voice, lineage, base)
    clips = scratch / "clips"
    (clips / "wavs").mkdir(parents=True)
    (clips / "metadata.csv").write_text("one|Eins, zwei.|Eins, zwei.\n", "utf-8")
    (clips / "wavs" / "one.wav").write_bytes(random.Random("clip").randbytes(600))
    add_dataset(store, Reference.parse(CLIPS), clips, catalog)
    _make_environment(store)


def _make_environment(store: LayoutStore) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        info = zipfile.ZipInfo("golden-1.dist-info/METADATA")
        archive.writestr(info, "Metadata-Version: 2.1\nName: golden\nVersion: 1\nLicense: MIT\n")
    wheel, lock = file.getvalue(), b"golden==1\n"
    store.put_bytes(WHEEL_TYPE, wheel)
    entry = put_environment(
        store, EnvironmentConfig(python="3.11", platform="manylinux_2_17_x86_64"), lock,
        [Wheel("golden-1-py3-none-any.whl", Digest.of(wheel), len(wheel))],
    )  # fmt: skip
    store.tag(ENVIRONMENT, entry)


def named(draft: Bundle, *, latest: Bundle | None) -> Bundle:
    """As a bundle gets its name, without clock and chance."""
    told = {"bundle_id": "00000000-0000-4000-8000-000000000001", "sequence": 1, "created": WHEN}
    return draft.model_copy(update=told)


def manifests(store: LayoutStore) -> dict[str, Manifest]:
    """By name."""
    return {tag: read_manifest(store, entry) for tag, entry in store.tags().items()}


def main(target: Path) -> None:
    """Write ``target``, which must not be there."""
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch("xttsreg.ops.issued._named", named))
        store = LayoutStore.create(target / "store")
        make_store(store, Path(scratch))
        bundle(store, store.tags(), target / "stick", media=Media(file_bytes=_FILE_BYTES))
        inventory = take_inventory(store).inventory.model_copy(update={"created": WHEN})
        (target / "inventory.json").write_bytes(inventory.to_bytes())
    for name in ("tmp", "leases", "partial", "verified", "lock"):  # of this machine alone
        path = store.state / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
