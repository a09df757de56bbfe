"""Real SSH keys, and the files that say which of them count."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from xttsreg.ops.signing import SigningKey

needs_ssh = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="no ssh-keygen here")


def ssh_keygen(*args: object, data: bytes = b"") -> bytes:
    """Run ssh-keygen as a person would."""
    call = ["ssh-keygen", *map(str, args)]
    done = subprocess.run(call, input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def make_key(directory: Path, name: str, *, kind: str = "ed25519", passphrase: str = "") -> Path:
    """A new private key; its public half lies beside it with ``.pub``."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    ssh_keygen("-q", "-t", kind, "-N", passphrase, "-C", name, "-f", path)
    return path


def public(key: Path) -> str:
    """The public half, as it stands in files."""
    return key.with_name(f"{key.name}.pub").read_text().strip()


def allow(path: Path, **keys: Path) -> Path:
    """An allowed_signers file: ``allow(path, alice=KEY)`` lets alice@lab sign."""
    path.write_text("".join(f"{name}@lab {public(key)}\n" for name, key in keys.items()))
    return path


def revoke(path: Path, *keys: Path) -> Path:
    """A key revocation list."""
    ssh_keygen("-q", "-k", "-f", path, *[f"{key}.pub" for key in keys])
    return path


def sign(data: bytes, key: Path, namespace: str) -> bytes:
    """A signature."""
    return SigningKey(key).sign(data, namespace)
