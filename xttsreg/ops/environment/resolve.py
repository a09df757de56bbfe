"""Which packages, at which version: asked of uv, for the machines that the environment is for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xttsreg import places
from xttsreg.content.digest import Digest
from xttsreg.content.environment import Target, canonical_name
from xttsreg.errors import InvalidRecipe, RemoteError
from xttsreg.ops.environment.tools import Tools

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_UV_GLIBC = (17, 28, *range(31, 41))
"""The versions of glibc that uv knows as a platform."""


@dataclass(frozen=True, slots=True)
class Pin:
    """A package that was chosen.

    Attributes:
        name: As indexes compare it.
        version: Exact.
        hashes: Of every file that the index has for it; one of them will be taken.
    """

    name: str
    version: str
    hashes: frozenset[Digest]

    @property
    def line(self) -> str:
        """The line of a requirements file."""
        hashes = "".join(f" --hash={digest}" for digest in sorted(self.hashes))
        return f"{self.name}=={self.version}{hashes}\n"


def resolve(
    tools: Tools, own_wheel: Path, extras: Sequence[str], target: Target, work: Path
) -> list[Pin]:
    """Choose a version of everything that xttsreg with these extras needs on the target.

    Files that can be installed as they are come first: only if no set of wheels will do, packages
    that have to be built are allowed.

    Args:
        tools: uv and pip.
        own_wheel: xttsreg's own; what it asks for is asked of the index.
        extras: Of xttsreg.
        target: The machines.
        work: For small files.

    Raises:
        RemoteError: the index cannot be reached, or has no set that fits together.
    """
    wanted = work / "wanted.txt"
    brackets = f"[{','.join(extras)}]" if extras else ""
    # pip travels with every environment: a Python without ensurepip could not install the rest.
    wanted.write_text(f"xttsreg{brackets} @ {own_wheel.resolve().as_uri()}\npip\n", "utf-8")
    command = [
        "pip", "compile", str(wanted), "--quiet", "--no-header", "--no-annotate",
        "--generate-hashes", "--python-version", target.python,
        "--python-platform", uv_platform(target), "--no-emit-package", "xttsreg",
    ]  # fmt: skip
    for extra in extras:  # what the tests ran with, where they ran with something
        pins = places.builtin("constraints") / f"{extra}.txt"
        if pins.is_file():
            command += ["--constraint", str(pins)]
    try:
        listing = tools.run_uv(*command, "--only-binary", ":all:", target=target)
    except RemoteError:
        listing = tools.run_uv(*command, target=target)
    return parse_pins(listing)


def parse_pins(listing: str) -> list[Pin]:
    """The packages of a requirements file with hashes."""
    starts = list(_PIN.finditer(listing))
    ends = [match.start() for match in starts[1:]] + [len(listing)]
    return [
        Pin(
            canonical_name(match[1]),
            match[2],
            frozenset(map(Digest.from_hex, _HASH.findall(listing, match.end(), end))),
        )
        for match, end in zip(starts, ends, strict=True)
    ]


def uv_platform(target: Target) -> str:
    """What uv calls a platform.

    Raises:
        InvalidRecipe: it has no name for it.

    >>> uv_platform(Target("3.11", "manylinux_2_30_x86_64"))
    'x86_64-manylinux_2_28'
    """
    family, _, rest = target.platform.partition("_")
    if family == "manylinux":
        minor, _, arch = rest.removeprefix("2_").partition("_")
        return f"{arch}-manylinux_2_{max(n for n in _UV_GLIBC if n <= int(minor))}"
    if family == "musllinux":
        return f"{rest.split('_', 2)[2]}-unknown-linux-musl"
    if family == "macosx":
        return {"arm64": "aarch64"}.get(arch := rest.split("_", 2)[2], arch) + "-apple-darwin"
    windows = {"amd64": "x86_64", "arm64": "aarch64"}
    if rest not in windows:
        raise InvalidRecipe(f"no resolver knows the platform {target.platform}")
    return f"{windows[rest]}-pc-windows-msvc"
