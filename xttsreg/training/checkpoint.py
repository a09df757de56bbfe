"""Reading checkpoint files safely: allowlist first, ``weights_only=True`` after."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xttsreg.content.checkpoint import require_safe
from xttsreg.errors import IntegrityError, InvalidModel, UnsafePickle
from xttsreg.training.engine import config_classes, upstream_names
from xttsreg.training.explain import memory_explained

_NOT_XTTS = (
    "dvae.",
    "torch_mel_spectrogram_style_encoder.",
    "torch_mel_spectrogram_dvae.",
    # Second names that generation gives to tensors of the GPT. Old releases have them in the file,
    # training ignores them, and inference makes them anew.
    "gpt.gpt_inference.",
    "gpt.gpt.wte.",
)

# A small tensor may live as long as the model (mel_stats does): it should not hang on a file.
_MAP_FROM_BYTES = 1 << 20


@contextmanager
def safe_loading(may_map: Callable[[Path], bool] = lambda _: True) -> Iterator[None]:
    """Make every ``torch.load`` inside, TTS's own included, use ``weights_only=True``.

    The four config classes of upstream's model.pth are the only exception. Large files are
    memory-mapped, so that they are read once, straight to where their values go.

    Args:
        may_map: Asked before a large file is mapped; if not, it is read.
    """
    import torch

    plain_load = torch.load

    def load(source: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs["weights_only"] = True
        kwargs.pop("pickle_module", None)  # the two exclude each other
        path = _mappable(source)
        if path is None:
            return plain_load(source, *args, **kwargs)
        return plain_load(str(path), *args, **{**kwargs, "mmap": may_map(path)})

    torch.load = load
    try:
        with torch.serialization.safe_globals(config_classes()):
            yield
    finally:
        torch.load = plain_load


def load_checked(path: Path) -> Any:
    """Return what a checkpoint file holds, tensors memory-mapped and read only when used.

    Raises:
        InvalidModel: no such file.
        IntegrityError: damaged, or no PyTorch file.
        UnsafePickle: it asks for more than tensors and the four config classes.
    """
    import pickle

    import torch

    require_safe(path)
    try:
        with memory_explained(f"{path.name} was read"), safe_loading():
            return torch.load(str(path), map_location="cpu")
    except pickle.UnpicklingError as error:
        raise UnsafePickle(f"{path}: {_first_line(error)}") from error
    except (RuntimeError, EOFError, ValueError) as error:
        raise IntegrityError(f"{path}: cannot be read: {_first_line(error)}") from error


def load_model_state(path: Path) -> dict[str, Any]:
    """Return the XTTS tensors of an inference or trainer checkpoint under upstream's names.

    Raises:
        InvalidModel: there is no ``model`` entry with tensors in it.
        XttsregError: as `load_checked`.
    """
    content = load_checked(path)
    state = content.get("model") if isinstance(content, dict) else None
    if not isinstance(state, dict):
        held = ", ".join(map(str, list(content)[:4])) if isinstance(content, dict) else "a tensor"
        raise InvalidModel(
            f"{path}: no XTTS checkpoint, it has no 'model' entry (it holds {held or 'nothing'})",
            hint="XTTS wants the tensors under the key 'model', named gpt... or xtts.gpt...; "
            "`xttsreg inspect FILE.pth` says what a file is",
        )
    names = ((name.removeprefix("xtts."), value) for name, value in state.items())
    return {name: value for name, value in names if not name.startswith(_NOT_XTTS)}


def check_complete(path: Path) -> None:
    """Compare every part with its checksum: what is mapped is looked at only when it is used.

    Raises:
        IntegrityError: cut off, or not what was saved.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise IntegrityError(f"{path}: cut off, or no checkpoint: {error}") from error
    if damaged is not None:
        raise IntegrityError(f"{path}: {damaged} has another checksum than when it was saved")


def save_model_state(path: Path, state: dict[str, Any], *, config: Any = None) -> None:
    """Write a model file whose bytes depend on its content alone.

    The state dict of a module carries bookkeeping of torch, and tensors that share or outgrow
    their storage would drag it along; plain contiguous copies avoid both.

    Args:
        path: Where to; replaced in one step.
        state: Tensors under upstream's names.
        config: Pickled beside them as upstream does; ``None`` leaves it out.
    """
    from collections import OrderedDict

    import torch

    tensors = OrderedDict((name, value.detach().cpu().clone()) for name, value in state.items())
    content = {"model": tensors} if config is None else {"model": tensors, "config": config}
    partial = path.with_name(f".{path.name}.partial")
    try:
        # a stream, so that no file name gets into the archive
        with partial.open("wb") as stream, upstream_names():
            torch.save(content, stream)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _mappable(source: Any) -> Path | None:
    """Return the file behind what ``torch.load`` was given, if mapping it is possible and pays."""
    # fsspec's files and Python's own say where they are; TTS opens its files through fsspec
    name = source if isinstance(source, (str, Path)) else getattr(source, "name", None)
    if not isinstance(name, (str, Path)):
        return None
    path = Path(name)
    if not path.is_file() or path.stat().st_size < _MAP_FROM_BYTES:
        return None
    with path.open("rb") as stream:
        return path if stream.read(2) == b"PK" else None  # only this format can be mapped


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
