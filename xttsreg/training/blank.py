"""Construction without drawing random weights that the checkpoint then overwrites."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
