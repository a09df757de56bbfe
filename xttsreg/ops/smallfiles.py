"""The small files that every stick has beside its blobs, for people and for other tools.

A function of what is bundled, and of nothing else: the same content gives the same bytes, so that
a second bundle changes nothing. Whatever else a stick should carry in plain sight is added here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xttsreg import places
from xttsreg.content.artifacts import kind_of, terms_of
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import Index
from xttsreg.content.modelpack import LICENSE_FILE
from xttsreg.content.stream import read_verified
from xttsreg.ops.copy import Selection
from xttsreg.ops.sbom import SBOM, Package, license_list, packages_of, sbom
from xttsreg.stores.base import BlobSource
from xttsreg.stores.names import LAYOUT, LAYOUT_FILE

INDEX = "index.json"
README = "README.txt"
INSTALLER = "install.py"
LICENSES_DIRECTORY = "licenses"
_MAX_TERMS_BYTES = 1024 * 1024  # more is no text that anybody reads
NAMES = frozenset({LAYOUT_FILE, INDEX, README, INSTALLER, LICENSES_DIRECTORY, SBOM})
"""What `small_files` puts at the top of a stick."""


def small_files(source: BlobSource, selection: Selection) -> Mapping[str, bytes]:
    """Path to bytes.

    Raises:
        BlobNotFound, IntegrityError: the source cannot give a file that is shown.
    """
    entries = [entry.with_ref(tagged) for tagged, entry in selection.tags.items()]
    entries += [entry.with_ref(None) for entry in selection.held]
    packages = {
        tagged: packages_of(source, selection.manifests[entry.digest])
        for tagged, entry in sorted(selection.tags.items())
    }
    return {
        LAYOUT_FILE: LAYOUT,
        INDEX: Index(manifests=tuple(entries)).to_bytes(),
        README: _readme(selection).encode("utf-8"),
        INSTALLER: (places.package() / "_stick" / INSTALLER).read_bytes(),
        SBOM: sbom(selection, packages),
        **_licenses(source, selection),
        **_package_lists(packages),
    }


def _package_lists(packages: Mapping[str, Sequence[Package]]) -> dict[str, bytes]:
    return {
        f"{LICENSES_DIRECTORY}/packages-{tagged.replace('/', '-').replace(':', '-')}.txt": text
        for tagged, found in packages.items()
        if found and (text := license_list(found))
    }


def _licenses(source: BlobSource, selection: Selection) -> dict[str, bytes]:
    """The terms once more as files that a person can open without any tool of ours."""
    found: dict[str, bytes] = {}
    for tagged, entry in sorted(selection.tags.items()):
        manifest = selection.manifests[entry.digest]
        if kind_of(manifest) == "environment":
            continue  # its files are wheels, whatever they are called; their terms are in the SBOM
        for path, layer in terms_of(manifest).items():
            if layer.size_bytes > _MAX_TERMS_BYTES:
                continue
            name = _licence_name(tagged, path)
            if name.casefold() in map(str.casefold, found):  # team/x and team-x, :V1 and :v1
                unique = Digest.of(f"{tagged} {path}".encode()).short
                name = f"{name.removesuffix('.txt')}-{unique}.txt"
            with source.open(layer) as raw:
                found[name] = read_verified(raw, layer, what=name)
    return found


def _licence_name(tagged: str, path: str) -> str:
    name = tagged.replace("/", "-").replace(":", "-")
    if path != LICENSE_FILE:  # of a dataset, which may have several and call them as it likes
        name += f"-{path.removesuffix('.txt')}"
    return f"{LICENSES_DIRECTORY}/{name}.txt"


def _readme(selection: Selection) -> str:
    lines = [f"  {tagged}  {entry.digest}" for tagged, entry in sorted(selection.tags.items())]
    return "\r\n".join(
        [
            "This directory is an xttsreg bundle: weights for XTTS_v2, to be carried to a",
            "machine without a network.",
            "",
            "It brings:",
            *lines,
            "",
            "Check it with standard tools:   sha256sum -c SHA256SUMS",
            "Check who made it, if SHA256SUMS.sig is here; take allowed_signers from elsewhere:",
            "  ssh-keygen -Y verify -f allowed_signers -I WHO -n xttsreg-bundle-v1"
            " -s SHA256SUMS.sig < SHA256SUMS",
            "Take it in:                     xttsreg import .",
            "Without xttsreg, with an environment above:  python3 install.py --target DIR",
            "Fine-tune without a network:    xttsreg train --model NAME:TAG --dataset DIR ...",
            "",
            "The terms of the weights travel with them, in licenses/. Read them. What is in here,",
            "each file and package with its licence and sha256: sbom.cdx.json (CycloneDX).",
            "",
        ]
    )
