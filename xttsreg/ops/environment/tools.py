"""The programs that are called, uv and pip, and the user's settings for both."""

from __future__ import annotations

import ast
import contextlib
import importlib.machinery
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from xttsreg.content.environment import Target
from xttsreg.errors import MissingDependency, RemoteError

# setting of pip -> variable of uv, and what separates several values there
_SETTINGS = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "constraint": ("UV_CONSTRAINT", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "client-cert": ("SSL_CLIENT_CERT", " "),
    "no-index": ("UV_NO_INDEX", " "),
    "proxy": ("ALL_PROXY", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
}
_LOCATIONS = ("index-url", "extra-index-url", "find-links")
SOURCE_DATE_EPOCH = "315532800"
"""1980-01-01, the first day that a zip can hold: what is built has no date of its own."""


@dataclass(frozen=True)
class Tools:
    """uv and pip of this machine.

    Attributes:
        uv: The program.
        pip: The command.
        environment: What both are run with; settings of the user that are there stay.
    """

    uv: str
    pip: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @classmethod
    def find(cls) -> Tools:
        """Those beside this Python, else those on the path.

        Raises:
            MissingDependency: one is not there.
        """
        uv = _installed_uv() or shutil.which("uv")
        if not uv:
            raise MissingDependency("an environment is resolved with uv, not here", extra="bundle")
        # Asked of the path alone: setuptools' import hook takes a question for pip as pip at work,
        # and nothing that needs setuptools, such as torch, can be imported in this process then.
        if importlib.machinery.PathFinder.find_spec("pip"):
            return cls(uv, (sys.executable, "-m", "pip"))
        pip = shutil.which("pip3") or shutil.which("pip")
        if not pip:
            raise MissingDependency("an environment is downloaded by pip, not here", extra="bundle")
        return cls(uv, (pip,))

    @cached_property
    def uv_environment(self) -> dict[str, str]:
        """The variables that make uv look where the user's pip looks, and like it."""
        found = {**self.environment, "UV_PYTHON_DOWNLOADS": "never",
                 "SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH}  # fmt: skip
        done = subprocess.run(
            [*self.pip, "config", "list"], env=dict(self.environment), capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        for name, value in uv_settings(done.stdout).items():
            found.setdefault(name, value)
        # pip takes the best version of all indexes; uv would stop at the first that has any.
        if "UV_INDEX" in found:
            found.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
        return found

    def run_uv(self, *arguments: str, target: Target | None = None) -> str:
        """Run uv, and return what it prints.

        Raises:
            RemoteError: it failed; carries its own words.
        """
        environment = dict(self.uv_environment)
        if target and target.platform.startswith("macosx_"):
            environment["MACOSX_DEPLOYMENT_TARGET"] = ".".join(target.platform.split("_")[1:3])
        return _run([self.uv, *arguments], environment, "uv")

    def run_pip(self, *arguments: str, temporary: Path) -> str:
        """Run pip, with its temporary files beside what it is to make.

        Raises:
            RemoteError: it failed; carries its own words.
        """
        environment = {**self.environment, "TMPDIR": str(temporary), "TEMP": str(temporary),
                       "SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH}  # fmt: skip
        quiet = ("--disable-pip-version-check", "--no-input", "--no-color", "--progress-bar", "off")
        return _run([*self.pip, arguments[0], *quiet, *arguments[1:]], environment, "pip")


def _installed_uv() -> str | None:
    """The uv that pip installed together with xttsreg, wherever its scripts are."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.distribution("uv").files or []:
            if file.name in ("uv", "uv.exe"):
                return shutil.which(str(file.locate()))
    return None


def _run(command: Sequence[str], environment: Mapping[str, str], name: str) -> str:
    try:
        done = subprocess.run(
            command, env=dict(environment), capture_output=True, text=True, errors="replace",
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except OSError as error:
        raise MissingDependency(f"{name}: {error.strerror}", extra="bundle") from None
    if done.returncode < 0 or done.returncode == 130:
        raise KeyboardInterrupt
    if done.returncode:
        raise RemoteError(
            f"{name}: {_reason(done.stderr or done.stdout)}",
            op=name,
            hint="the index, its address and its credentials are those of your pip "
            "(`pip config list`); what came is kept",
        )
    return done.stdout


def _reason(output: str) -> str:
    """What a program said about its failure, on one line and not too long."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [n for n, line in enumerate(lines) if line.lower().startswith("error")]
    told = lines[errors[0] :] if errors else lines[-3:]
    told = [line for line in told if not line.lower().startswith(("warning", "[notice", "hint"))]
    return " ".join(told)[:600] or "failed without a word"


def uv_settings(listing: str) -> dict[str, str]:
    r"""Variables for uv from what ``pip config list`` prints; the later section wins.

    >>> uv_settings("global.index-url='https://a/simple'\n:env:.index-url='https://b/simple'\n")
    {'UV_DEFAULT_INDEX': 'https://b/simple'}
    """
    ranks = {"global": 0, "download": 1, ":env:": 2}
    chosen: dict[str, tuple[int, str]] = {}
    for line in listing.splitlines():
        key, _, text = line.partition("=")
        section, _, name = key.rpartition(".")
        if section not in ranks or name not in _SETTINGS:
            continue
        try:
            value = str(ast.literal_eval(text))
        except (ValueError, SyntaxError):
            continue
        if ranks[section] >= chosen.get(name, (0, ""))[0]:
            chosen[name] = (ranks[section], value)
    found = {}
    for name, (_, value) in chosen.items():
        variable, separator = _SETTINGS[name]
        parts = [part for part in value.split() if name not in _LOCATIONS or _is_there(part)]
        if parts:
            found[variable] = separator.join(parts)
    return found


def _is_there(location: str) -> bool:
    """Whether a location may be asked: pip passes over a directory that is gone, uv fails."""
    parts = urlsplit(location)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path)).exists()
    return bool(len(parts.scheme) > 1 or Path(location).exists())
