"""The lock of an environment: a ``requirements.txt`` with exactly one hash a package.

pip reads it as it is, with ``--require-hashes``. What pip does not need stands in comments: for
which machines it is, the file names and sizes, and from which source a wheel was built. It names
no index.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xttsreg.content.digest import Digest
from xttsreg.content.environment import EnvironmentConfig, Wheel, canonical_name, project_of
from xttsreg.errors import InvalidInputError, XttsregError

_FIRST = "# xttsreg environment lock, format 1"
_ENTRY = re.compile(
    r"# wheel (?P<file>\S+) (?P<size>\d+)\n"
    r"(?:# built from (?P<source>[0-9a-f]{64})\n)?"
    r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+) \\\n"
    r"    --hash=sha256:(?P<hex>[0-9a-f]{64})\n"
)
_HEAD = re.compile(
    re.escape(_FIRST) + r"\n# python (?P<python>\S+)\n# platform (?P<platform>\S+)\n"
    r"# extras (?P<extras>\S*)\n# cuda (?P<cuda>[^\n]*)\n"
)


@dataclass(frozen=True, slots=True)
class Locked:
    """One package of a lock.

    Attributes:
        wheel: The file.
        source: If the wheel was built, the digest of its source.
    """

    wheel: Wheel
    source: Digest | None = None

    @property
    def name(self) -> str:
        """As indexes compare it."""
        return project_of(self.wheel.file)[0]

    @property
    def version(self) -> str:
        """As the file name has it."""
        return project_of(self.wheel.file)[1]


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock. ``Lock.parse(x.to_bytes(), ...) == x``.

    Attributes:
        config: For which machines; `EnvironmentConfig.built` follows from the packages.
        packages: Sorted by name.
    """

    config: EnvironmentConfig
    packages: tuple[Locked, ...]

    @classmethod
    def of(
        cls, *, python: str, platform: str, extras: Sequence[str], cuda: str,
        packages: Sequence[Locked],
    ) -> Lock:  # fmt: skip
        """A lock of these packages, in its one order."""
        ordered = tuple(sorted(packages, key=lambda package: package.name))
        config = EnvironmentConfig(
            python=python, platform=platform, extras=tuple(sorted(set(extras))), cuda=cuda,
            built=tuple(package.wheel.file for package in ordered if package.source),
        )  # fmt: skip
        return cls(config, ordered)

    @classmethod
    def parse(cls, data: bytes, what: str) -> Lock:
        """Parse a lock.

        Raises:
            InvalidInputError: not a lock, or one that was edited by hand beyond recognition.
        """
        text = data.decode("utf-8", errors="replace").replace("\r\n", "\n")
        head = _HEAD.match(text)
        if not head:
            raise InvalidInputError(
                f"{what}: not an environment's lock",
                hint="`xttsreg bundle RECIPE.toml` writes one; remove this file, and it does",
            )
        packages, position = [], head.end()
        while position < len(text):
            match = _ENTRY.match(text, position)
            if not match:
                line = text.count("\n", 0, position) + 1
                raise InvalidInputError(
                    f"{what}: line {line} is malformed", hint="make the lock anew"
                )
            packages.append(_locked(match, what))
            position = match.end()
        extras = [extra for extra in head["extras"].split(",") if extra]
        return cls.of(
            python=head["python"], platform=head["platform"], extras=extras, cuda=head["cuda"],
            packages=packages,
        )  # fmt: skip

    @classmethod
    def load(cls, path: Path) -> Lock:
        """Read a lock's file.

        Raises:
            InvalidInputError: unreadable, or see `parse`.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InvalidInputError(f"{path}: {error.strerror}") from None
        return cls.parse(data, str(path))

    def to_bytes(self) -> bytes:
        """The file: complete, sorted, the same for the same packages."""
        config = self.config
        lines = [
            _FIRST,
            f"# python {config.python}",
            f"# platform {config.platform}",
            f"# extras {','.join(config.extras)}",
            f"# cuda {config.cuda}",
        ]
        for package in self.packages:
            lines.append(f"# wheel {package.wheel.file} {package.wheel.size_bytes}")
            if package.source:
                lines.append(f"# built from {package.source.hex}")
            lines.append(f"{package.name}=={package.version} \\")
            lines.append(f"    --hash=sha256:{package.wheel.digest.hex}")
        return ("\n".join(lines) + "\n").encode("utf-8")


def _locked(match: re.Match[str], what: str) -> Locked:
    try:
        name, version = project_of(match["file"])
    except XttsregError as error:
        raise InvalidInputError(f"{what}: {error.message}") from None
    if (name, version) != (canonical_name(match["name"]), match["version"]):
        raise InvalidInputError(
            f"{what}: {match['file']} is not {match['name']} {match['version']}",
            hint="make the lock anew",
        )
    wheel = Wheel(match["file"], Digest.from_hex(match["hex"]), int(match["size"]))
    return Locked(wheel, Digest.from_hex(match["source"]) if match["source"] else None)
