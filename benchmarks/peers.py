"""The programs that a careful user would take instead: which are here, and which version."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

DEBIAN = {"rsync": "rsync", "aria2c": "aria2", "skopeo": "skopeo", "restic": "restic",
          "nginx": "nginx-light", "curl": "curl", "git-annex": "git-annex",
          "ab": "apache2-utils", "openssl": "openssl",
          "docker-registry": "docker-registry"}  # fmt: skip
"""Program to Debian package."""
TELLS = {"nginx": "-v", "openssl": "version", "restic": "version", "git-annex": "version",
         "ab": "-V"}  # fmt: skip
ELSEWHERE = "oras (the program is in neither Debian nor PyPI)"


def find(directory: Path, *, install: bool) -> None:
    """Put all of them on the path, and install what is missing where this may be done.

    What is not there in the end is left out of the comparisons, and named.
    """
    own = directory / "dvc"
    os.environ["PATH"] = f"{own / 'bin'}:{os.environ['PATH']}:/usr/sbin"
    if not install:
        return
    missing = [package for program, package in DEBIAN.items() if not shutil.which(program)]
    if missing and shutil.which("apt-get") and os.geteuid() == 0:
        _try("apt-get", "update", "-qq")
        _try("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing)
    if not shutil.which("dvc"):  # a hundred packages: not into our own environment
        _try(sys.executable, "-m", "venv", str(own))
        _try(str(own / "bin" / "python"), "-m", "pip", "install", "-q", "dvc")


def _try(*command: str) -> None:
    subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, timeout=300
    )


def versions() -> list[str]:
    """What is here with its version, and what is not."""
    found, absent = [], []
    for program in ("sha256sum", "tar", *DEBIAN, "dvc"):
        if not shutil.which(program):
            absent.append(program)
            continue
        done = subprocess.run([program, TELLS.get(program, "--version")], capture_output=True,
                              text=True, check=False)  # fmt: skip
        match = re.search(r"\d+\.\d+[.\w]*", done.stdout + done.stderr)
        found.append(f"{program} {match[0] if match else ''}".rstrip())
    try:
        found.append(f"huggingface_hub {version('huggingface_hub')}")
    except PackageNotFoundError:
        absent.append("huggingface_hub")
    return [", ".join(found), f"absent: {', '.join([*absent, ELSEWHERE])}"]
