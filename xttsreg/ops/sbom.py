"""What a bundle holds, as a CycloneDX document and as a list of licences: weights and wheels.

Both are functions of what is bundled: no time, no host, and a serial number from the content. The
library is loaded when a bundle is written, and by nothing else.
"""

from __future__ import annotations

import hashlib
import json
import uuid
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.parser import BytesParser
from typing import TYPE_CHECKING

from xttsreg.content.artifacts import kind_of
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.environment import WHEEL_TYPE, project_of
from xttsreg.content.manifest import Manifest
from xttsreg.content.modelpack import LICENSES, REVISION
from xttsreg.errors import BlobNotFound, IntegrityError
from xttsreg.ops.copy import Selection
from xttsreg.stores.base import BlobSource

if TYPE_CHECKING:
    from cyclonedx.model import HashType
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import License

SBOM = "sbom.cdx.json"
NOT_STATED = "not stated"
_MAX_CHARS = 120
_METADATA_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Package:
    """A wheel of an environment, and what its metadata says of its licence."""

    layer: Descriptor
    name: str
    version: str
    license: str


def packages_of(source: BlobSource, manifest: Manifest) -> list[Package]:
    """The wheels of an environment; an empty list for anything else.

    Raises:
        IntegrityError: a wheel is none.
    """
    found = []
    for path, layer in manifest.files().items():
        if layer.media_type == WHEEL_TYPE:
            name, version = project_of(path)
            found.append(Package(layer, name, version, _license(source, layer, path)))
    return found


def license_list(packages: Sequence[Package]) -> bytes:
    """The licences of an environment, one line a package, for people."""
    width = max(len(f"{package.name} {package.version}") for package in packages)
    lines = [f"{f'{p.name} {p.version}'.ljust(width)}  {p.license}" for p in packages]
    head = "As the packages themselves state them; the texts are inside the wheels."
    return "\r\n".join([head, "", *lines, ""]).encode("utf-8")


def sbom(selection: Selection, packages: Mapping[str, Sequence[Package]]) -> bytes:
    """The CycloneDX document of a bundle.

    Args:
        selection: What is bundled.
        packages: Of each environment, by tag; from `packages_of`.
    """
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    kinds = {
        "weights": ComponentType.MACHINE_LEARNING_MODEL,
        "voice": ComponentType.MACHINE_LEARNING_MODEL,
        "environment": ComponentType.PLATFORM,
    }
    bom, content = Bom(), hashlib.sha256()
    for tagged, entry in sorted(selection.tags.items()):
        content.update(f"{tagged}@{entry.digest}\n".encode())
        manifest = selection.manifests[entry.digest]
        kind = kind_of(manifest)
        stated = manifest.annotations.get(LICENSES, "")
        bom.components.add(
            Component(
                name=tagged,
                version=manifest.annotations.get(REVISION) or entry.digest,
                type=kinds.get(kind, ComponentType.DATA),
                bom_ref=tagged,
                hashes=_hashes(entry),
                licenses=_licenses(stated) if stated else [],
                components=_inside(tagged, kind, manifest, packages.get(tagged, ())),
            )
        )
    bom.serial_number = uuid.UUID(bytes=content.digest()[:16], version=5)
    bom.metadata.timestamp = None  # type: ignore[assignment]
    value = json.loads(JsonV1Dot6(bom).output_as_string())
    return (json.dumps(value, sort_keys=True, indent=1) + "\n").encode("utf-8")


def _inside(
    tagged: str, kind: str, manifest: Manifest, packages: Sequence[Package]
) -> Iterable[Component]:
    """Files of weights, wheels of an environment; the files of a dataset would only be noise."""
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    if kind in ("weights", "voice"):
        return [
            Component(name=path, type=ComponentType.FILE, bom_ref=f"{tagged}/{path}",
                      hashes=_hashes(layer))
            for path, layer in manifest.files().items()
        ]  # fmt: skip
    return [
        Component(
            name=package.name,
            version=package.version,
            type=ComponentType.LIBRARY,
            bom_ref=f"{tagged}/{package.layer.file_path}",
            purl=PackageURL("pypi", None, package.name, package.version),
            hashes=_hashes(package.layer),
            licenses=_licenses(package.license) if package.license != NOT_STATED else [],
        )
        for package in packages
    ]


def _hashes(blob: Descriptor) -> list[HashType]:
    from cyclonedx.model import HashAlgorithm, HashType

    return [HashType(alg=HashAlgorithm.SHA_256, content=blob.digest.hex)]


def _licenses(text: str) -> list[License]:
    from cyclonedx.contrib.license.factories import LicenseFactory

    return [LicenseFactory().make_from_string(text)]


def _license(source: BlobSource, layer: Descriptor, path: str) -> str:
    """What a wheel's metadata says: an SPDX expression, else a line, else a classifier."""
    try:
        with source.open(layer) as raw, zipfile.ZipFile(raw) as archive:
            (entry,) = [
                info for info in archive.infolist()
                if info.filename.count("/") == 1 and info.filename.endswith(".dist-info/METADATA")
                and info.file_size < _METADATA_BYTES
            ]  # fmt: skip
            message = BytesParser().parsebytes(archive.read(entry), headersonly=True)
    except BlobNotFound:
        return NOT_STATED  # of an environment that is only partly here, as after a thin bundle
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError) as error:
        raise IntegrityError(
            f"{path}: not a wheel ({error})", hint="make the environment, or fetch it, again"
        ) from None
    classifiers = [str(c) for c in message.get_all("Classifier", []) if str(c).startswith("Lic")]
    stated = [
        message.get("License-Expression"),
        message.get("License"),
        " AND ".join(c.rpartition(" :: ")[2] for c in classifiers),
    ]
    for text in stated:
        line = str(text or "").strip()
        if line and line.upper() != "UNKNOWN" and "\n" not in line and len(line) <= _MAX_CHARS:
            return line
    return NOT_STATED
