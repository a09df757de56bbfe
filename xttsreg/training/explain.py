"""Errors in words that help: files by the set they belong to, memory by its name."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xttsreg.errors import XttsregError

# torch on a GPU; torch on a CPU; C++; cuBLAS and cuDNN; the kernel, by way of torch's data loader;
# the loader of libraries.
_OUT_OF_MEMORY = (
    "out of memory",
    "allocate memory",
    "bad_alloc",
    "alloc_failed",
    "killed by signal: killed",
    "failed to map segment",
)


@contextmanager
def named_as(name: str, *folders: Path) -> Iterator[None]:
    """Let errors inside speak of a set, and not of a folder that goes when the run ends.

    Args:
        name: Of the set.
        folders: Where its files lie for now.
    """
    try:
        yield
    except XttsregError as error:
        for folder in folders:
            for path in (folder.absolute(), folder):
                error.message = error.message.replace(str(path), name)
        raise


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that it came from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or error.__context__


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the GPU or of the machine.

    >>> out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    True
    """
    return any(
        isinstance(one, MemoryError)
        or (isinstance(one, OSError) and one.errno == errno.ENOMEM)
        or any(sign in str(one).lower() for sign in _OUT_OF_MEMORY)
        for one in chain(error)
    )


@contextmanager
def memory_explained(doing: str) -> Iterator[None]:
    """Say plainly that memory ran out where torch says it in many ways, some of them misleading.

    Args:
        doing: What was being done, as the end of "memory ran out while ...".

    Raises:
        XttsregError: it ran out inside.
    """
    try:
        yield
    except XttsregError:
        raise
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise XttsregError(
            f"memory ran out while {doing}: {first_line(error)}",
            hint="end other programs, or ask for more memory (`ulimit -v`, a job's --mem)",
        ) from error


def first_line(error: BaseException) -> str:
    """An error in one line, with its kind."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
