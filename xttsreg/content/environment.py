"""A Python environment as an artifact: its wheels, its lock, and for which machines they are.

One wheel is one raw layer, so a wheel that two environments share is stored once. Nothing says
where a wheel came from: indexes are private, and a digest is the same wherever it was fetched.
Sources of the tags: PEP 425 (compatibility), PEP 600 (manylinux), PEP 427 (file names).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import Field

from xttsreg.content.artifacts import ENVIRONMENT_TYPE
from xttsreg.content.canonical import dump_canonical, load_strict
from xttsreg.content.descriptor import FILE_PATH, TITLE, Descriptor, Document
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import Manifest, parse_document
from xttsreg.content.paths import check_relative_path
from xttsreg.errors import InvalidInputError, InvalidManifest, NewerFormat

CONFIG_TYPE = "application/vnd.xttsreg.environment.config.v1+json"
WHEEL_TYPE = "application/vnd.xttsreg.environment.wheel.v1.raw"
LOCK_TYPE = "application/vnd.xttsreg.environment.lock.v1.raw"
LOCK_FILE = "requirements.txt"
FORMAT_VERSION = 1
NAME = "environment"
"""The name of every environment in a store; the tag says which one."""

PYTHON = re.compile(r"3\.(?:[1-9]\d?)")
_PLATFORM = re.compile(
    r"manylinux_2_(?P<glibc>\d+)_(?P<linux>x86_64|aarch64|ppc64le|s390x)"
    r"|musllinux_1_(?P<musl>\d+)_(?P<alpine>x86_64|aarch64)"
    r"|(?P<windows>win_amd64|win_arm64|win32)"
    r"|macosx_(?P<major>\d+)_(?P<minor>\d+)_(?P<mac>x86_64|arm64)"
)
_WHEEL = re.compile(
    r"(?P<name>[A-Za-z0-9._]+)-(?P<version>[A-Za-z0-9._+!]+)(?:-\d[A-Za-z0-9._]*)?"
    r"-(?P<python>[A-Za-z0-9._]+)-(?P<abi>[A-Za-z0-9._]+)-(?P<platform>[A-Za-z0-9._]+)\.whl"
)
_OLDEST_GLIBC = 17
"""Of manylinux2014. Older ones are gone from what people publish."""


@dataclass(frozen=True, slots=True)
class Target:
    """The machines that an environment is for: CPython of one version on one platform.

    Attributes:
        python: E.g. ``3.11``.
        platform: The newest platform tag that they take, e.g. ``manylinux_2_28_x86_64``,
            ``win_amd64`` or ``macosx_12_0_arm64``.
    """

    python: str
    platform: str

    @classmethod
    def of(cls, python: str, platform: str) -> Target:
        """Check both.

        Raises:
            InvalidInputError: malformed, or older than anything that is published.
        """
        if not PYTHON.fullmatch(python):
            raise InvalidInputError(f"not a version of Python: {python!r}; write e.g. 3.11")
        match = _PLATFORM.fullmatch(platform)
        if not match or (match["glibc"] and int(match["glibc"]) < _OLDEST_GLIBC):
            raise InvalidInputError(
                f"not a platform: {platform!r}; write e.g. manylinux_2_28_x86_64 (2_17 is the "
                "oldest), win_amd64 or macosx_12_0_arm64"
            )
        return cls(python, platform)

    @property
    def interpreter(self) -> str:
        """E.g. ``cp311``."""
        return "cp" + self.python.replace(".", "")

    def platforms(self) -> list[str]:
        """Every platform tag that these machines take, the newest first, without ``any``.

        >>> Target("3.11", "win_amd64").platforms()
        ['win_amd64']
        """
        return list(_platforms(self.platform))

    def takes(self, wheel: str) -> bool:
        """Whether a wheel of this file name can be installed there.

        >>> Target("3.11", "win_amd64").takes("six-1.17.0-py2.py3-none-any.whl")
        True
        """
        match = _WHEEL.fullmatch(wheel)
        if not match:
            return False
        platforms = {*self.platforms(), "any"}
        return (
            not platforms.isdisjoint(match["platform"].split("."))
            and any(self._takes_python(tag, match["abi"]) for tag in match["python"].split("."))
        )  # fmt: skip

    def _takes_python(self, tag: str, abis: str) -> bool:
        minor = int(self.python.partition(".")[2])
        for abi in abis.split("."):
            if tag == self.interpreter and abi in (self.interpreter, "none", "abi3"):
                return True
            if abi == "abi3" and re.fullmatch(r"cp3\d+", tag) and int(tag[3:]) <= minor:
                return True
            if abi == "none" and re.fullmatch(r"py3\d*", tag) and int(tag[3:] or 0) <= minor:
                return True
        return False


def _platforms(tag: str) -> Iterator[str]:
    match = _PLATFORM.fullmatch(tag)
    if not match:
        raise InvalidInputError(f"not a platform: {tag!r}")
    if match["glibc"]:
        yield from _manylinux(int(match["glibc"]), match["linux"])
    elif match["musl"]:
        yield from (f"musllinux_1_{n}_{match['alpine']}" for n in range(int(match["musl"]), -1, -1))
        yield f"linux_{match['alpine']}"
    elif match["windows"]:
        yield tag
    else:
        yield from _macosx(int(match["major"]), int(match["minor"]), match["mac"])


def _manylinux(glibc: int, arch: str) -> Iterator[str]:
    oldest = 5 if arch == "x86_64" else _OLDEST_GLIBC
    legacy = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
    for minor in range(glibc, oldest - 1, -1):
        yield f"manylinux_2_{minor}_{arch}"
        if minor in legacy:
            yield f"{legacy[minor]}_{arch}"
    yield f"linux_{arch}"


def _macosx(major: int, minor: int, arch: str) -> Iterator[str]:
    for release in range(major, 10, -1):
        yield from (f"macosx_{release}_0_{name}" for name in (arch, "universal2"))
    newest = minor if major == 10 else 16
    for release in range(newest, 3, -1):
        if arch == "x86_64":
            yield from (f"macosx_10_{release}_{name}" for name in (arch, "intel", "fat64"))
        yield f"macosx_10_{release}_universal2"


class EnvironmentConfig(Document):
    """The configuration blob: what `install.py` chooses by, and `inspect` shows.

    Attributes:
        format_version: Of this document and of the artifact.
        python: E.g. ``3.11``.
        platform: E.g. ``manylinux_2_28_x86_64``.
        extras: Of xttsreg, sorted; empty for the core.
        cuda: Note of the recipe's author, e.g. ``12.4``.
        built: Wheels that were built from source where the bundle was made, by file name.
    """

    format_version: int = Field(default=FORMAT_VERSION, ge=1, strict=True)
    python: str
    platform: str
    extras: tuple[str, ...] = ()
    cuda: str = ""
    built: tuple[str, ...] = ()

    @classmethod
    def parse(cls, data: bytes) -> EnvironmentConfig:
        """Parse foreign bytes.

        Raises:
            NewerFormat: written by a later version.
            InvalidManifest: malformed.
        """
        value = load_strict(data, what="environment")
        version = value.get("format_version")
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise NewerFormat(
                f"the environment has format version {version}, known is {FORMAT_VERSION}",
                hint="use the xttsreg that it was made with, or a newer one",
            )
        return parse_document(cls, value, "environment")

    @property
    def tagged(self) -> str:
        """What it is called in a store.

        >>> EnvironmentConfig(python="3.11", platform="win_amd64", extras=("train",)).tagged
        'environment:train-cp311-win_amd64'
        """
        target = Target(self.python, self.platform)
        extras = ".".join(self.extras) or "core"
        return f"{NAME}:{extras}-{target.interpreter}-{target.platform}"


@dataclass(frozen=True, slots=True)
class Wheel:
    """One wheel: its file name, and what it is."""

    file: str
    digest: Digest
    size_bytes: int

    @property
    def layer(self) -> Descriptor:
        """The layer that stands for it."""
        return _layer(WHEEL_TYPE, self.file, self.digest, self.size_bytes)


def project_of(file: str) -> tuple[str, str]:
    """Name as indexes have it, and version, from a wheel's file name.

    Raises:
        InvalidManifest: it is not the name of a wheel.

    >>> project_of("gruut_lang_en-2.0.1-py3-none-any.whl")
    ('gruut-lang-en', '2.0.1')
    """
    match = _WHEEL.fullmatch(check_relative_path(file))
    if not match:
        raise InvalidManifest(f"{file[:200]!r} is not the name of a wheel")
    return canonical_name(match["name"]), match["version"]


def canonical_name(name: str) -> str:
    """A project's name as indexes compare it (PEP 503).

    >>> canonical_name("Gruut_Lang.en")
    'gruut-lang-en'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def build_environment(
    config: EnvironmentConfig, lock: bytes, wheels: Sequence[Wheel]
) -> tuple[bytes, Manifest]:
    """Configuration blob and manifest of an environment: a function of its arguments alone.

    Args:
        config: For which machines.
        lock: The lock's bytes; the caller stores them as a blob.
        wheels: In any order.

    Raises:
        InvalidManifest, UnsafePath: two wheels have one name, or a name is none.
    """
    data = dump_canonical(config.to_json())
    layers = [wheel.layer for wheel in sorted(wheels, key=lambda wheel: wheel.file)]
    for wheel in wheels:
        project_of(wheel.file)
    manifest = Manifest(
        artifact_type=ENVIRONMENT_TYPE,
        config=Descriptor(media_type=CONFIG_TYPE, digest=Digest.of(data), size_bytes=len(data)),
        layers=(_layer(LOCK_TYPE, LOCK_FILE, Digest.of(lock), len(lock)), *layers),
    )
    manifest.files()
    return data, manifest


def _layer(media_type: str, path: str, digest: Digest, size_bytes: int) -> Descriptor:
    names = {FILE_PATH: path, TITLE: path}
    return Descriptor(
        media_type=media_type, digest=digest, size_bytes=size_bytes, annotations=names
    )
