"""JSON in and out: strict when reading, canonical when writing.

Canonical means: keys sorted, no white space, UTF-8 without escapes, no NaN, a trailing newline is
absent. The same value gives the same bytes on every machine, so a manifest's digest repeats.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from itertools import chain
from typing import Any, NoReturn

from xttsreg.errors import InvalidManifest

# The OCI distribution-spec asks registries to accept manifests up to 4 MiB; nothing of ours is
# near that. An index with 10,000 tags takes about 3 MiB, so it gets more room.
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_INDEX_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 64
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


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
            object (two readers could then disagree on what was signed), or not an object. Also
            what we could not write again: NaN, numbers beyond all bounds, half characters.
    """
    if len(data) > limit_bytes:
        raise InvalidManifest(f"{what}: {len(data)} bytes are more than {limit_bytes}")
    try:
        text = data.decode("utf-8")
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite
        )
        if _HALF.search(text):  # a pair of them is a character; the encoder knows
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise InvalidManifest(f"{what}: nested too deep") from None
    except ValueError as error:
        raise InvalidManifest(f"{what}: not valid JSON ({str(error)[:200]})") from None
    if not isinstance(value, dict):
        raise InvalidManifest(f"{what}: not a JSON object")
    # As many brackets as levels, at least: counting them is enough for nearly everything.
    if text.count("{") + text.count("[") > MAX_DEPTH and _is_deep(value):
        raise InvalidManifest(f"{what}: nested too deep")
    return value


def _is_deep(value: dict[str, Any]) -> bool:
    """Whether it is nested deeper than anything of ours: what reads it next may recurse."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        inside = chain.from_iterable(v.values() if isinstance(v, dict) else v for v in level)
        level = [item for item in inside if isinstance(item, (dict, list))]
        if not level:
            return False
    return True


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key[:100]!r} occurs twice")
        found[key] = value
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is no number")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
