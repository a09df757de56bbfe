"""The container of a torch checkpoint: a pickle, and the storages that it refers to.

Since torch 1.6 it is a zip archive: ``{root}/data.pkl`` and, for each storage, a file
``{root}/data/{key}``. Older files are several pickles in a row, then the storages. Source:
torch/serialization.py of torch 2.5. Only the pickle is read, by `xttsreg.content.pickles`; the
sizes of the storages are compared with what it says of them.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from xttsreg.content.pickles import Call, Global, Persistent, PickleError, Reader

MAX_PICKLE_BYTES = 64 * 1024 * 1024
_END_BYTES = 22  # of a zip archive without a comment
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
DTYPES = {  # storage class: dtype and bytes of an element
    "FloatStorage": ("float32", 4),
    "DoubleStorage": ("float64", 8),
    "HalfStorage": ("float16", 2),
    "BFloat16Storage": ("bfloat16", 2),
    "LongStorage": ("int64", 8),
    "IntStorage": ("int32", 4),
    "ShortStorage": ("int16", 2),
    "CharStorage": ("int8", 1),
    "ByteStorage": ("uint8", 1),
    "BoolStorage": ("bool", 1),
}
ITEM_BYTES = dict(DTYPES.values())


class NotTorchError(Exception):
    """Carries the problem's line."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor, as the checkpoint describes it.

    Attributes:
        shape: Its dimensions; empty for a scalar.
        dtype: As torch names it, without ``torch.``.
        storage: The key of the storage that it looks into; tensors may share one.
    """

    shape: tuple[int, ...]
    dtype: str
    storage: str


def read_zip(path: Path, reader: Reader) -> tuple[object, str | None]:
    """The outermost object of a zip checkpoint, and a storage that is absent or short."""
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
            if len({name.casefold() for name in sizes}) < len(archive.infolist()):
                raise NotTorchError("a zip archive with the same name twice")
            names = [name for name in sizes if name.rpartition("/")[2].casefold() == "data.pkl"]
            if len(names) != 1 or not names[0].endswith("/data.pkl"):
                raise NotTorchError("a zip archive, but not one of torch: no single data.pkl")
            root = names[0].rpartition("/")[0]
            if sizes[names[0]] > MAX_PICKLE_BYTES:
                raise NotTorchError(f"data.pkl has {sizes[names[0]]} bytes, which is too much")
            _require_plain(path, archive, names[0])
            with archive.open(names[0]) as stream:
                data = stream.read(MAX_PICKLE_BYTES + 1)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise NotTorchError(f"a zip archive that is cut off or damaged ({error})") from None
    if f"{root}/constants.pkl" in sizes:
        raise NotTorchError("a TorchScript archive, which holds code")
    top = reader.read(io.BytesIO(data))
    for reference in reader.persistent:
        storage = _storage(reference)
        if storage is None:
            raise NotTorchError("a reference to something that is no storage")
        _, key, needed_bytes = storage
        if sizes.get(f"{root}/data/{key}", -1) < needed_bytes:
            return top, f"storage {key[:40]!r} is absent or too short"
    return top, None


def _require_plain(path: Path, archive: zipfile.ZipFile, name: str) -> None:
    """Make sure that every reader of zip archives sees the same pickle as this one.

    Readers differ in what they make of bytes before the archive, of a comment that looks like
    another table of contents, and of compressed members. torch writes none of these.
    """
    first = archive.infolist()[0]
    with path.open("rb") as stream:
        stream.seek(-_END_BYTES, io.SEEK_END)
        end = stream.read(_END_BYTES)
    table = archive.start_dir  # where Python found it, which moves with bytes in front
    told = int.from_bytes(end[16:20], "little")
    if end[:4] != b"PK\x05\x06" or (told not in (table, 0xFFFFFFFF)) or first.header_offset != 0:
        raise NotTorchError("a zip archive with something before or behind it")
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise NotTorchError("a zip archive whose data.pkl is compressed, which torch never does")
    if first.filename.partition("/")[0] != name.partition("/")[0]:
        raise NotTorchError("a zip archive with two folders at its top")


def read_legacy(path: Path, reader: Reader) -> tuple[object, str | None]:
    """The outermost object of an old checkpoint (the fourth pickle), and whether it is cut off."""
    with path.open("rb") as stream:
        data = io.BytesIO(stream.read(MAX_PICKLE_BYTES))
    try:
        magic = reader.read(data)
    except PickleError:
        raise NotTorchError("neither a zip archive nor a pickle") from None
    if magic != _LEGACY_MAGIC:
        raise NotTorchError("a pickle, but not one of torch")
    if tarfile.is_tarfile(path):  # torch tries that first, and would see other pickles
        raise NotTorchError("a tar archive, as torch wrote them before 2017")
    reader.read(data)  # protocol version
    reader.read(data)  # system information
    top = reader.read(data)
    reader.read(data)  # the storages' keys: torch reads this pickle, too
    storages = {found[1]: found[2] for found in map(_storage, reader.persistent) if found}
    short = path.stat().st_size < data.tell() + sum(storages.values())
    return top, "cut off: it is shorter than its tensors" if short else None


def _storage(reference: Persistent) -> tuple[str, str, int] | None:
    """Dtype, key and bytes of a storage that a checkpoint refers to; None if it is none."""
    pid = reference.pid
    if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
        return None
    _, kind, key, _, count = pid[:5]
    if not isinstance(kind, Global) or kind.module != "torch" or kind.name not in DTYPES:
        return None
    if not isinstance(key, str) or not isinstance(count, int) or count < 0:
        return None
    dtype, item_bytes = DTYPES[kind.name]
    return dtype, key, count * item_bytes


def tensor_of(value: object) -> TensorInfo | None:
    """A tensor or parameter; None for anything else."""
    for _ in range(2):
        if not isinstance(value, Call) or not isinstance(value.args, tuple):
            return None
        name, args = str(value.func), value.args
        if name == "torch._utils._rebuild_parameter" and args:
            value = args[0]
    if name != "torch._utils._rebuild_tensor_v2" or len(args) < 4:
        return None
    storage = _storage(args[0]) if isinstance(args[0], Persistent) else None
    shape = args[2]
    if storage is None or not isinstance(shape, tuple) or len(shape) > 64:
        return None
    sizes = tuple(size for size in shape if isinstance(size, int) and size >= 0)
    return TensorInfo(sizes, *storage[:2]) if len(sizes) == len(shape) else None
