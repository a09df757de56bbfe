"""The catalogue: pinned weight sets, one TOML file each, ours in ``registry/`` and users' own.

A pin is complete: full commit, and size and sha256 of every file. So the manifest of a set, its
digest included, is known before the first byte is fetched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import Field, field_validator, model_validator

from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import Manifest
from xttsreg.content.modelpack import ModelInfo, build_model, file_layer
from xttsreg.content.paths import check_distinct_paths, check_relative_path
from xttsreg.content.reference import Reference
from xttsreg.content.strict import StrictModel, load_toml
from xttsreg.errors import InvalidCatalog, WeightSetNotFound

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Role = Literal["train", "infer", "licence"]


class PinnedFile(StrictModel):
    """One file of a weight set.

    Attributes:
        path: Name in the set and in the sources.
        size_bytes: Exact length.
        sha256: 64 hex digits.
        roles: What it is needed for.
    """

    path: str
    size_bytes: int = Field(gt=0, strict=True)
    sha256: Sha256
    roles: tuple[Role, ...] = Field(min_length=1)

    @field_validator("path")
    @classmethod
    def _safe(cls, path: str) -> str:
        return check_relative_path(path)

    @property
    def layer(self) -> Descriptor:
        """The layer that stands for it."""
        return file_layer(self.path, Digest.from_hex(self.sha256), self.size_bytes)


class KnownFile(StrictModel):
    """A file that people meet, but that belongs to no verified set: only its digest is known."""

    path: str
    sha256: Sha256
    size_bytes: int | None = Field(default=None, gt=0)
    note: str


class License(StrictModel):
    """The terms of a weight set.

    Attributes:
        id: SPDX identifier, ``LicenseRef-...`` for others.
        name: For people.
        path: The file of the set that holds the terms.
        acceptance_required: Whether somebody must say yes.
        summary: Up to three lines that are shown before the question.
    """

    id: str = Field(min_length=1)
    name: str
    path: str
    acceptance_required: bool
    summary: tuple[str, ...] = Field(default=(), max_length=3)


class WeightSet(StrictModel):
    """A pinned weight set."""

    name: str
    tag: str = "main"
    title: str = ""
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    source_url: str = ""
    languages: tuple[str, ...] = ()
    sources: tuple[str, ...] = Field(min_length=1)
    license: License
    files: tuple[PinnedFile, ...] = Field(min_length=1)
    known_files: tuple[KnownFile, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> WeightSet:
        paths = [file.path for file in self.files]
        check_distinct_paths(paths)
        if self.license.path not in paths:
            raise ValueError(f"license.path {self.license.path!r} is not among the files")
        Reference.parse(f"{self.name}:{self.tag}")
        for source in self.sources:
            self._check_source(source)
        return self

    @staticmethod
    def _check_source(source: str) -> None:
        if not source.startswith(("https://", "http://")) or "{path}" not in source:
            raise ValueError(f"source {source!r}: needs http(s):// and {{path}}")
        try:
            source.format(revision="", path="")
        except (KeyError, IndexError, ValueError):
            raise ValueError(f"source {source!r}: only {{revision}} and {{path}} fit") from None

    @property
    def reference(self) -> Reference:
        """Its name in a store."""
        return Reference(self.name, self.tag)

    @property
    def size_bytes(self) -> int:
        """Sum over the files."""
        return sum(file.size_bytes for file in self.files)

    def urls(self, path: str) -> list[str]:
        """Where a file can be had, best first."""
        quoted = quote(path)  # a name may hold "#" or "%"
        return [source.format(revision=self.revision, path=quoted) for source in self.sources]

    def file(self, path: str) -> PinnedFile | None:
        """The file of this name."""
        return next((file for file in self.files if file.path == path), None)

    def model(self) -> tuple[bytes, Manifest]:
        """Configuration blob and manifest of this set; the same bytes on every machine."""
        info = ModelInfo(
            name=self.name,
            title=self.title,
            revision=self.revision,
            source_url=self.source_url,
            licenses=(self.license.id,),
            acceptance_required=self.license.acceptance_required,
            languages=self.languages,
        )
        return build_model(info, [file.layer for file in self.files])


class Catalog:
    """Weight sets by reference.

    Args:
        sets: In order; a later one of the same reference wins, so users can override.
    """

    def __init__(self, sets: Iterable[WeightSet]) -> None:
        self._sets: dict[str, WeightSet] = {item.reference.tagged: item for item in sets}

    @classmethod
    def load(cls, *directories: Path) -> Catalog:
        """Read every ``*.toml`` in these directories, the later ones over the earlier ones.

        Raises:
            InvalidCatalog: a directory is missing, or a file is malformed.
        """
        sets = []
        for directory in directories:
            if not directory.is_dir():
                raise InvalidCatalog(f"{directory}: no such catalogue directory")
            files = sorted(directory.glob("*.toml"))
            sets += [load_toml(WeightSet, path, InvalidCatalog) for path in files]
        return cls(sets)

    def sets(self) -> Mapping[str, WeightSet]:
        """``name:tag`` to set, sorted."""
        return dict(sorted(self._sets.items()))

    def find(self, reference: Reference) -> WeightSet | None:
        """The set of this name and tag, if it is pinned here, and under this digest if given."""
        found = self._sets.get(reference.tagged)
        if found and reference.digest and reference.digest != found.model()[1].describe().digest:
            return None
        return found

    def get(self, reference: Reference) -> WeightSet:
        """The set of this name and tag.

        Raises:
            WeightSetNotFound: the hint lists what there is.
        """
        found = self.find(reference)
        if found is None:
            raise WeightSetNotFound(
                f"{reference if reference.digest else reference.tagged}: not in the catalogue",
                hint=f"the catalogue has {', '.join(self.sets()) or 'nothing'}; "
                "--catalog DIR adds your own",
            )
        return found

    def identify(self, digest: Digest) -> str | None:
        """What a file is, by its digest: ``model.pth of xtts_v2:main``."""
        for tagged, item in self._sets.items():
            for file in item.files:
                if file.sha256 == digest.hex:
                    return f"{file.path} of {tagged}"
            for known in item.known_files:
                if known.sha256 == digest.hex:
                    return f"{known.path} of {item.name}, {known.note}"
        return None
