"""Construction without what is thrown away: random weights, and a second copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xttsreg.training.checkpoint import safe_loading

# Drawing in place, as a method of a tensor or as a function of torch.nn.init. What is computed
# (masks, windows, filter banks), zeros and ones, and new random tensors (few and small) stay.
_DRAWS = {
    "normal_",
    "uniform_",
    "trunc_normal_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "orthogonal_",
}


@contextmanager
def quick_build(may_map: Callable[[Path], bool] = lambda _: True) -> Iterator[None]:
    """Let a ``GPTTrainer`` be built in here in a fraction of the time, with the same tensors.

    Only for one whose tensors are all loaded from files while it is built, and are proved then: see
    `proof.prove_restore`. Large tensors stay mapped from their file, privately, until they are
    changed or moved to a GPU.

    Args:
        may_map: Whether nobody will write to a file while the model lives. The others are read.
    """
    with safe_loading(may_map), no_random_weights(), _taken_over():
        yield


@contextmanager
def no_random_weights() -> Iterator[None]:
    """Leave tensors as they were allocated where code inside would fill them with random numbers.

    Only for models of which every such tensor is loaded afterwards, and that is proved then: see
    `proof.prove_restore`. The random generators are not advanced.
    """
    from torch.overrides import TorchFunctionMode

    class Undrawn(TorchFunctionMode):  # type: ignore[misc]  # mypy does not see into torch
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            given = kwargs or {}
            if getattr(func, "__name__", "") in _DRAWS:
                return args[0] if args else given["tensor"]
            return func(*args, **given)

    with Undrawn():
        yield


@contextmanager
def _taken_over() -> Iterator[None]:
    """Let modules take the tensors of a file as they are, instead of copying each into their own.

    That spares the model's size in memory, which costs more than all the rest to get.
    """
    from torch.nn import Module

    load = Module.load_state_dict

    def load_state_dict(
        self: Any, state_dict: Any, strict: bool = True, assign: bool = False
    ) -> Any:
        own = {name: value.dtype for name, value in self.state_dict().items()}
        if any(value.dtype != own.get(name, value.dtype) for name, value in state_dict.items()):
            return load(self, state_dict, strict=strict, assign=assign)  # it converts them
        return load(self, _separate(state_dict), strict=strict, assign=True)

    Module.load_state_dict = load_state_dict
    try:
        yield
    finally:
        Module.load_state_dict = load


def _separate(state: Any) -> dict[str, Any]:
    """Copy what shares its memory with others, or is laid out in another way than a module's."""
    seen: set[int] = set()
    result = {}
    for name, value in state.items():
        storage = value.untyped_storage()
        alone = storage.nbytes() == value.nbytes and storage.data_ptr() not in seen
        seen.add(storage.data_ptr())
        result[name] = value if alone and value.is_contiguous() else value.contiguous().clone()
    return result
