"""``python -m fuzz TARGET [OPTIONS OF LIBFUZZER]``: coverage-guided, by atheris. See `run`."""

from __future__ import annotations

import copy
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris

_READERS = ["xttsreg", "tarfile", "pickletools", "pickle", "json", "zipfile", "tomllib"]
with atheris.instrument_imports(include=_READERS):
    from fuzz.table import TARGETS, Target, replay

_ODD: list[Any] = [
    None, True, -1, 0, 2**63, 1.5, "", "..", "/", "a/../b", "A", "\x00", "\u0130", "nul", [], {},
    "sha256:" + "0" * 64, [[]] * 3, {"": {}},
]  # fmt: skip


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a value of JSON: what holds it, and its key."""
    pairs = (
        value.items() if isinstance(value, dict)
        else enumerate(value) if isinstance(value, list) else ()
    )  # fmt: skip
    return [p for key, inside in pairs for p in ((value, key), *_places(inside))]


def mutate_json(data: bytes, max_size: int, seed: int) -> bytes:
    """Change a value somewhere: to an odd one, to another one of the same document, or away."""
    chance = random.Random(seed)
    if chance.random() < 0.4:
        return bytes(atheris.Mutate(data, max_size))
    try:
        value = json.loads(data)
        places = _places(value)
        holder, key = chance.choice(places)
    except (ValueError, IndexError, RecursionError):
        return bytes(atheris.Mutate(data, max_size))
    what = chance.random()
    if what < 0.2:
        del holder[key]
    elif what < 0.4 and isinstance(holder, list):
        holder.append(holder[key])
    elif what < 0.6:
        holder[key] = copy.deepcopy(chance.choice(places)[0])
    elif what < 0.7 and isinstance(holder[key], str):
        text = bytes(atheris.Mutate(holder[key].encode("utf-8", "replace"), 200))
        holder[key] = text.decode("utf-8", "replace")
    else:
        holder[key] = chance.choice(_ODD)
    return json.dumps(value).encode()[:max_size]


def mutate_any(data: bytes, max_size: int, seed: int) -> bytes:
    """For `EVERYTHING`: the first byte says who reads the rest."""
    which = data[:1] or b"\0"
    mutate = (
        mutate_json if _chosen(which).json else lambda rest, size, _: atheris.Mutate(rest, size)
    )
    return which + bytes(mutate(data[1:], max_size - 1, seed))


def _chosen(which: bytes) -> Target:
    return list(TARGETS.values())[which[0] % len(TARGETS)]


EVERYTHING = Target(
    lambda data: replay(_chosen(data[:1] or b"\0"), data[1:]),
    lambda: [bytes([n]) + seed for n, t in enumerate(TARGETS.values()) for seed in t.seeds()],
)


def main() -> None:
    """Until the time is over, or something breaks; the bytes that did it lie in ``crash-...``."""
    name, *options = sys.argv[1:]
    target = EVERYTHING if name == "everything" else TARGETS[name]
    mutator = mutate_any if target is EVERYTHING else mutate_json if target.json else None
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(target.seeds()):
            (Path(corpus) / str(number)).write_bytes(seed)
        atheris.Setup(
            [sys.argv[0], *options, corpus],
            lambda data: replay(target, data),
            **({"custom_mutator": mutator} if mutator else {}),
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
