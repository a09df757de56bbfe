"""JSON in and out: strict when reading, canonical when writing.

Canonical means: keys sorted, no white space, UTF-8 without escapes, no NaN, a trailing newline is
absent. The same value gives the same bytes on every machine, so a manifest's digest repeats.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NoReturn

from xttsreg.errors import InvalidManifest

# The OCI distribution-spec asks registries to accept manifests up to 4 MiB; nothing of ours is
# near that. An index with 10,000 tags takes about 3 MiB, so it gets more room.
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_INDEX_BYTES = 64 * 1024 * 1024


def dump_canonical(value: Any) -> bytes:
    """The canonical bytes of a JSON value.

    >>> dump_canonical({"b": 1, "a": [True]})
    b'{"a":[true],"b":1}'
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode("utf-8")


def load_strict(data: bytes, *, what: str, limit_bytes: int = MAX_MANIFEST_BYTES) -> dict[str, Any]:
    """Parse a JSON object from foreign bytes.

    Args:
        data: UTF-8 JSON.
        what: Name of the thing for error messages.
        limit_bytes: Longer input is refused unparsed.

    Raises:
        InvalidManifest: too long, not UTF-8, not JSON, nested too deep, a key twice in one
            object (two readers could then disagree on what was signed), NaN, or not an object.
    """
    if len(data) > limit_bytes:
        raise InvalidManifest(f"{what}: {len(data)} bytes are more than {limit_bytes}")
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except RecursionError:
        raise InvalidManifest(f"{what}: nested too deep") from None
    except ValueError as error:
        raise InvalidManifest(f"{what}: not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise InvalidManifest(f"{what}: not a JSON object")
    return value


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key!r} occurs twice")
        found[key] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
