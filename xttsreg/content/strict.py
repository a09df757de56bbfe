"""TOML files of ours, read strictly."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from xttsreg.content.descriptor import explain
from xttsreg.errors import InvalidInputError, StoreError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class StrictModel(BaseModel):
    """Base of what people write by hand: immutable, and a field we don't know is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


_CHECK = "mend this file; nothing was done"

M = TypeVar("M", bound=StrictModel)


def load_toml(model: type[M], path: Path, error: type[InvalidInputError]) -> M:
    """Read and validate a TOML file.

    Args:
        model: What it must be.
        path: The file.
        error: What to raise.

    Raises:
        InvalidInputError: of the given type; unreadable, no TOML, or not what ``model`` says.
        StoreError: the disk fails; there is nothing to mend in the file.
    """
    try:
        value = tomllib.loads(path.read_text("utf-8"))
    except OSError as failure:
        if failure.errno == errno.EIO:
            raise StoreError(f"{path}: {failure.strerror}") from failure
        raise error(f"{path}: {failure.strerror}", hint=_CHECK) from None
    except (ValueError, RecursionError) as failure:
        raise error(f"{path}: not valid TOML ({failure})", hint=_CHECK) from None
    try:
        return model.model_validate(value)
    except ValidationError as failure:
        raise error(f"{path}: {explain(failure)}", hint=_CHECK) from None
