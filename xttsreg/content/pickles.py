"""Read a pickle without running it.

This is an interpreter of the pickle opcodes of its own, over `pickletools.genops`, which only
takes opcodes apart. Nothing is imported, called, or built by a class's rules: a class becomes a
`Global`, a call a `Call`, a dict a list of pairs. `pickle.Unpickler` with an overridden
``find_class`` would import nothing either, but can be made to fill the memory (a huge memo
index), to recurse (the hash of a deep tuple), or to stall (keys that collide) by a few bytes.

Source of the opcodes: CPython, Lib/pickletools.py.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

MAX_OPCODES = 1_000_000  # the full trainer checkpoint of XTTS has about 80,000


class PickleError(ValueError):
    """A pickle that cannot be read to its end, or is too large to be what it should be."""


@dataclass(frozen=True, slots=True)
class Global:
    """A class or function that the pickle names."""

    module: str
    name: str

    def __str__(self) -> str:
        """Dotted, as Python would write it."""
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False, repr=False)
class Pairs:
    """A dict, as the pairs that were set; keys need not be hashable, later ones count."""

    pairs: list[tuple[object, object]] = field(default_factory=list)


@dataclass(slots=True, eq=False, repr=False)
class Call:
    """What calling ``func`` would give, and what was done to it afterwards."""

    func: object
    args: object
    state: object = None
    pairs: list[tuple[object, object]] = field(default_factory=list)
    items: list[object] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Persistent:
    """A reference to something outside the pickle; for torch, a storage."""

    pid: object


_CONSTANTS = frozenset(  # these push their own argument
    ["INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"]
    + ["STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"]
    + ["BYTEARRAY8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"]
)
_NAMED: dict[str, Callable[[], object]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_SET": list,
    "EMPTY_DICT": Pairs,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Reader:
    """Reads pickles, and keeps what they name.

    Attributes:
        globals: All that was named so far, dotted; complete only after `read` has returned, but
            worth a look after it has failed, too.
        persistent: All references to storages so far.
    """

    def __init__(self) -> None:
        self.globals: set[str] = set()
        self.persistent: list[Persistent] = []
        self._opcodes = 0
        self._clear()

    def _clear(self) -> None:
        self._stack: list[object] = []
        self._marks: list[list[object]] = []
        self._memo: dict[int, object] = {}

    def read(self, stream: BinaryIO) -> object:
        """The object that the next pickle in this stream describes.

        Raises:
            PickleError: if it is damaged, no pickle, or longer than `MAX_OPCODES` allow.
        """
        self._clear()
        try:
            for opcode, arg, _ in pickletools.genops(stream):
                self._opcodes += 1
                if self._opcodes > MAX_OPCODES:
                    raise PickleError(f"more than {MAX_OPCODES} opcodes")
                if opcode.name == "STOP":
                    return self._stack.pop()
                self._step(opcode.name, arg)
        except PickleError:
            raise
        except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
            raise PickleError(f"{type(error).__name__} while reading") from None
        raise PickleError("no end")

    def _step(self, name: str, arg: object) -> None:
        """Do what an opcode says, or what is left of it without effects."""
        if name in _CONSTANTS:
            self._push(arg)
        elif name in _NAMED:
            self._push(_NAMED[name]())
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            self._push(self._memo[_integer(arg)])
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self._memo[_integer(arg)] = self._stack[-1]
        elif name in _TUPLES:
            self._push(tuple(self._take(_TUPLES[name])))
        elif name not in ("PROTO", "FRAME"):
            action = _ACTIONS.get(name)
            if action is None:  # NEXT_BUFFER, READONLY_BUFFER: no file has out-of-band buffers
                raise PickleError(f"opcode {name}")
            action(self, arg)

    def _push(self, value: object) -> None:
        self._stack.append(value)

    def _take(self, count: int) -> list[object]:
        """The topmost values, removed, bottom first."""
        if len(self._stack) < count:
            raise PickleError("stack underrun")
        taken = self._stack[-count:]
        del self._stack[-count:]
        return taken

    def _take_to_mark(self) -> list[object]:
        """All values since the last mark."""
        taken, self._stack = self._stack, self._marks.pop()
        return taken

    def _name(self, module: object, name: object) -> Global:
        """Note a class or function; one whose name is not even text is noted, too."""
        found = Global(
            module if isinstance(module, str) else "?", name if isinstance(name, str) else "?"
        )
        self.globals.add(str(found))
        return found

    def _mark(self, _: object) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def _pop(self, _: object) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._take_to_mark()

    def _memoize(self, _: object) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _global(self, arg: object) -> None:
        # genops joins module and name with a space; one that has spaces itself stays foreign
        module, _, name = str(arg).partition(" ")
        self._push(self._name(module, name))

    def _stack_global(self, _: object) -> None:
        module, name = self._take(2)
        self._push(self._name(module, name))

    def _extension(self, arg: object) -> None:
        self._push(self._name("copyreg.extension", str(arg)))

    def _reduce(self, _: object) -> None:
        func, args = self._take(2)
        self._push(Call(func, args))

    def _newobj_ex(self, _: object) -> None:
        func, args, keywords = self._take(3)
        self._push(Call(func, (args, keywords)))

    def _inst(self, arg: object) -> None:
        args = tuple(self._take_to_mark())
        self._global(arg)
        self._push(Call(self._stack.pop(), args))

    def _obj(self, _: object) -> None:
        func, *args = self._take_to_mark()
        self._push(Call(func, tuple(args)))

    def _binpersid(self, _: object) -> None:
        self._refer(self._stack.pop())

    def _refer(self, pid: object) -> None:
        found = Persistent(pid)
        self.persistent.append(found)
        self._push(found)

    def _build(self, _: object) -> None:
        target, state = self._take(2)
        if isinstance(target, Call):
            target.state = state
        self._push(target)

    def _extend(self, values: list[object]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, Call):
            target.items.extend(values)
        else:
            raise PickleError("append to no list")

    def _set(self, values: list[object]) -> None:
        target = self._stack[-1]
        if not isinstance(target, (Pairs, Call)):
            raise PickleError("items for no dict")
        target.pairs.extend(_paired(values))


def _integer(value: object) -> int:
    if not isinstance(value, int):
        raise PickleError("memo index is no number")
    return value


def _paired(values: list[object]) -> list[tuple[object, object]]:
    if len(values) % 2:
        raise PickleError("odd number of keys and values")
    return list(zip(values[::2], values[1::2], strict=True))


_ACTIONS: dict[str, Callable[[Reader, object], object]] = {
    "MARK": Reader._mark,
    "POP": Reader._pop,
    "POP_MARK": lambda r, _: r._take_to_mark(),
    "DUP": lambda r, _: r._push(r._stack[-1]),
    "MEMOIZE": Reader._memoize,
    "GLOBAL": Reader._global,
    "STACK_GLOBAL": Reader._stack_global,
    "EXT1": Reader._extension,
    "EXT2": Reader._extension,
    "EXT4": Reader._extension,
    "REDUCE": Reader._reduce,
    "NEWOBJ": Reader._reduce,
    "NEWOBJ_EX": Reader._newobj_ex,
    "INST": Reader._inst,
    "OBJ": Reader._obj,
    "PERSID": Reader._refer,
    "BINPERSID": Reader._binpersid,
    "BUILD": Reader._build,
    "LIST": lambda r, _: r._push(r._take_to_mark()),
    "FROZENSET": lambda r, _: r._push(r._take_to_mark()),
    "TUPLE": lambda r, _: r._push(tuple(r._take_to_mark())),
    "DICT": lambda r, _: r._push(Pairs(_paired(r._take_to_mark()))),
    "APPEND": lambda r, _: r._extend(r._take(1)),
    "APPENDS": lambda r, _: r._extend(r._take_to_mark()),
    "ADDITEMS": lambda r, _: r._extend(r._take_to_mark()),
    "SETITEM": lambda r, _: r._set(r._take(2)),
    "SETITEMS": lambda r, _: r._set(r._take_to_mark()),
}
