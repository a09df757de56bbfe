"""Look into a PyTorch file without running its pickle.

``weights_only=True`` was bypassed more than once, so it is the second fence. This is the first: the
globals that a pickle asks for are listed from its opcodes and compared with an allowlist.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from xttsreg.errors import IntegrityError, InvalidModel, UnsafePickle

CONFIG_CLASSES = (
    "TTS.tts.configs.xtts_config.XttsConfig",
    "TTS.tts.models.xtts.XttsArgs",
    "TTS.tts.models.xtts.XttsAudioConfig",
    "TTS.config.shared_configs.BaseDatasetConfig",
)
"""What upstream's model.pth holds besides tensors."""

_FLOATS = ("Float", "Double", "Half", "BFloat16")
_INTEGERS = ("Long", "Int", "Short", "Char", "Byte", "Bool")
_ALLOWED = frozenset(
    {
        "collections.OrderedDict",
        "collections.defaultdict",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter",
        "torch.Size",
        "torch.device",
        *(f"torch.{kind}Storage" for kind in _FLOATS + _INTEGERS),
        *CONFIG_CLASSES,
    }
)
_LEGACY_START = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # torch < 1.6
_LEGACY_PICKLES = 5  # magic, protocol, system, the object, storage keys
_HINT = "fetch or import the file again; `xttsreg verify` says which files are damaged"


def check_checkpoint_file(path: Path) -> frozenset[str]:
    """Make sure that a file is a whole PyTorch file that asks for nothing but tensors and configs.

    Args:
        path: A ``.pth`` file.

    Returns:
        The globals that its pickle names.

    Raises:
        InvalidModel: the file is not there.
        IntegrityError: empty, truncated, a web page, or no PyTorch file at all.
        UnsafePickle: the pickle asks for other globals.
    """
    if not path.is_file():
        raise InvalidModel(f"{path}: no such file")
    with path.open("rb") as stream:
        head = stream.read(len(_LEGACY_START))
        stream.seek(0)
        if head.startswith(b"PK"):
            found = _globals_of_zip(path, stream)
        elif head == _LEGACY_START:
            found = _globals_of_legacy(path, stream)
        else:
            raise IntegrityError(f"{path}: {_describe(head)}, not a PyTorch file", hint=_HINT)
    foreign = sorted(found - _ALLOWED)
    if foreign:
        raise UnsafePickle(
            f"{path}: its pickle asks for {', '.join(foreign)}",
            hint="do not load this file; ask whoever made it for tensors only",
        )
    return frozenset(found)


def _describe(head: bytes) -> str:
    if not head:
        return "an empty file"
    if head.lstrip().startswith(b"<"):
        return "a web page"
    return "something else"


def _globals_of_zip(path: Path, stream: IO[bytes]) -> set[str]:
    try:
        with zipfile.ZipFile(stream) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise IntegrityError(f"{path}: {len(pickles)} pickles in the archive, expected 1")
            with archive.open(pickles[0]) as data:
                return set(_globals(path, data))
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise IntegrityError(
            f"{path}: truncated or damaged PyTorch file ({error})", hint=_HINT
        ) from error


def _globals_of_legacy(path: Path, stream: IO[bytes]) -> set[str]:
    found: set[str] = set()
    for _ in range(_LEGACY_PICKLES):
        found.update(_globals(path, stream))
    return found


def _globals(path: Path, stream: IO[bytes]) -> Iterator[str]:
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name in {"GLOBAL", "INST"}:
                yield str(argument).replace(" ", ".")
            elif opcode.name in {"STACK_GLOBAL", "EXT1", "EXT2", "EXT4"}:
                # torch.save does not write these; what they name depends on running the pickle
                yield f"<{opcode.name}>"
    except ValueError as error:
        raise IntegrityError(f"{path}: damaged pickle ({error})", hint=_HINT) from error
