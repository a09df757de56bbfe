"""Power that goes: what a disk may hold if only what was synced is sure to be there.

A killed process leaves all that the kernel holds; a power cut does not. So the system calls of an
operation are recorded with all their data (strace), and replayed on a model of a filesystem that
knows, for every file and every directory, what has been made durable by fsync and what has not.
At each step the directory is built as it may be after a cut, and checked. This is what CrashMonkey
(Mohan and others, OSDI 2018) does with a block device, one floor higher.

The model promises less than real filesystems do: fsync of a file says nothing about its name, only
fsync of the directory does; names and bytes that were not synced may be lost or kept each by
itself, a rename's two names included.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fault.tracing import CHANGING

RECORDED = (*CHANGING, "read", "pread64", "readv", "lseek", "close", "dup", "dup2", "dup3")
OPTIONS = ("-xx", "-s", "16777216")
_CALL = re.compile(r"\d+ +(\w+)\((.*)\) += (-?\d+|\?)(?:<|\s|$)")
_QUOTED = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_DESCRIPTOR = re.compile(r"(AT_FDCWD|\d+)<((?:\\x[0-9a-f]{2})*)(?:>|\()")


@dataclass(eq=False, slots=True)
class Node:
    """A file or a directory, as it is and as it is sure to be.

    Attributes:
        data: A file's bytes; None for a directory.
        durable: Its bytes when it was last synced.
        names: A directory's entries.
        durable_names: Its entries when it was last synced.
    """

    data: bytearray | None = None
    durable: bytes = b""
    names: dict[str, Node] = field(default_factory=dict)
    durable_names: dict[str, Node] = field(default_factory=dict)

    def sync(self) -> None:
        """What fsync promises, and no more."""
        if self.data is None:
            self.durable_names = dict(self.names)
        else:
            self.durable = bytes(self.data)


@dataclass(slots=True)
class _Open:
    node: Node
    offset: int = 0
    append: bool = False


class Disk:
    """The model. `apply` takes one line of a log after the other."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.top = _load(root)
        self._open: dict[int, _Open] = {}

    def apply(self, line: str) -> bool:
        """Replay a call; whether it changed what a power cut may leave."""
        match = _CALL.match(line)
        if match is None or match[3].startswith(("-", "?")):
            return False
        call, text, result = match[1], match[2], int(match[3])
        action = _ACTIONS.get(call)
        if action is not None:
            return action(self, text, result)
        if call in ("chmod", "fchmod", "fchmodat", "fchmodat2", "utimensat", "ioctl", "mknodat"):
            return False
        inside = str(self._root).encode()
        if any(inside in path for path in _decoded(text)):
            raise AssertionError(f"a call that the model does not know: {call}({text[:200]}")
        return False

    def _find(self, path: bytes) -> tuple[Node, str] | None:
        """The directory that has, or would have, this name; None outside the world."""
        try:
            relative = Path(path.decode()).relative_to(self._root)
        except ValueError:
            return None
        node = self.top
        for part in relative.parts[:-1]:
            node = node.names[part]
        return node, relative.parts[-1] if relative.parts else ""

    def _target(self, text: str) -> list[tuple[Node, str] | None]:
        return [self._find(path) for path in _paths(text)]

    def _do_open(self, text: str, result: int) -> bool:
        self._open.pop(result, None)
        where = self._target(text)[0]
        if where is None:
            return False
        parent, name = where
        node = self.top if name == "" else parent.names.get(name)
        changed = node is None
        if node is None:
            node = parent.names[name] = Node(data=bytearray())
        if "O_TRUNC" in text and node.data:
            node.data.clear()
            changed = True
        self._open[result] = _Open(node, append="O_APPEND" in text)
        return changed

    def _descriptor(self, text: str) -> _Open | None:
        return self._open.get(int(text.partition("<")[0].partition(",")[0]))

    def _do_read(self, text: str, result: int) -> bool:
        opened = self._descriptor(text)
        if opened:
            opened.offset += result
        return False

    def _do_seek(self, text: str, result: int) -> bool:
        opened = self._descriptor(text)
        if opened:
            opened.offset = result
        return False

    def _do_write(self, text: str, result: int) -> bool:
        opened = self._descriptor(text)
        if opened is None or opened.node.data is None:
            return False
        found = _QUOTED.search(text.partition(">")[2])
        assert found, f"no data: {text[:100]}"
        data = _bytes(found[1])[:result]
        assert len(data) == result, "strace cut the data off"
        content = opened.node.data
        start = len(content) if opened.append else opened.offset
        content.extend(b"\0" * (start - len(content)))
        content[start : start + result] = data
        opened.offset = start + result
        return True

    def _do_truncate(self, text: str, result: int) -> bool:
        opened = self._descriptor(text)
        if opened is None or opened.node.data is None:
            return False
        size, content = int(text.rpartition(",")[2]), opened.node.data
        content.extend(b"\0" * (size - len(content)))
        del content[size:]
        return True

    def _do_sync(self, text: str, result: int) -> bool:
        opened = self._descriptor(text)
        if opened:
            opened.node.sync()
        return opened is not None

    def _do_close(self, text: str, result: int) -> bool:
        self._open.pop(int(text.partition("<")[0]), None)
        return False

    def _do_rename(self, text: str, result: int) -> bool:
        source, target = self._target(text)
        if source is None or target is None:
            assert source == target, "a rename across the border of the world"
            return False
        target[0].names[target[1]] = source[0].names.pop(source[1])
        return True

    def _do_link(self, text: str, result: int) -> bool:
        source, target = self._target(text)
        if target is None:
            return False
        assert source is not None, "a link into the world"
        target[0].names[target[1]] = source[0].names[source[1]]
        return True

    def _do_remove(self, text: str, result: int) -> bool:
        where = self._target(text)[0]
        if where is None:
            return False
        del where[0].names[where[1]]
        return True

    def _do_mkdir(self, text: str, result: int) -> bool:
        where = self._target(text)[0]
        if where is None:
            return False
        where[0].names[where[1]] = Node()
        return True


Action = Callable[[Disk, str, int], bool]
_ACTIONS: dict[str, Action] = {
    **dict.fromkeys(("open", "openat", "creat"), Disk._do_open),
    **dict.fromkeys(("read", "readv"), Disk._do_read),
    "pread64": lambda disk, text, result: False,
    "lseek": Disk._do_seek,
    "write": Disk._do_write,
    "ftruncate": Disk._do_truncate,
    **dict.fromkeys(("fsync", "fdatasync"), Disk._do_sync),
    "close": Disk._do_close,
    **dict.fromkeys(("rename", "renameat", "renameat2"), Disk._do_rename),
    **dict.fromkeys(("link", "linkat"), Disk._do_link),
    **dict.fromkeys(("unlink", "unlinkat", "rmdir"), Disk._do_remove),
    **dict.fromkeys(("mkdir", "mkdirat"), Disk._do_mkdir),
}


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))


def _decoded(text: str) -> Iterator[bytes]:
    yield from (_bytes(found[1]) for found in _QUOTED.finditer(text))
    yield from (_bytes(found[2]) for found in _DESCRIPTOR.finditer(text))


def _paths(text: str) -> list[bytes]:
    """The absolute paths that a call names; relative ones start at the descriptor before them."""
    found, base = [], b""
    for part in re.finditer(f"{_DESCRIPTOR.pattern}|{_QUOTED.pattern}", text):
        if part[1] is not None:
            base = _bytes(part[2])
        else:
            name = _bytes(part[3])
            found.append(name if name.startswith(b"/") else base + b"/" + name)
    return found


def _load(path: Path) -> Node:
    """What is there before the operation is all durable."""
    if not path.is_dir():
        data = path.read_bytes()
        return Node(data=bytearray(data), durable=data)
    names = {child.name: _load(child) for child in path.iterdir()}
    return Node(names=names, durable_names=dict(names))


# --- what a power cut leaves --------------------------------------------------------------------

State = dict[str, bytes | None]
"""Relative path to content; None for a directory."""
LOSSES = ("all", "bytes", "names", "some")


def after_cut(disk: Disk, loss: str, chance: random.Random) -> State:
    """One of the states that a cut may leave.

    Args:
        disk: At this moment.
        loss: ``all`` that was not synced is lost; only ``bytes`` (names are kept: a journal of
            metadata); only ``names``; or ``some`` of both, by chance.
        chance: For that.
    """
    state: State = {}
    contents: dict[Node, bytes] = {}  # a file with two names has one content

    def walk(node: Node, prefix: str) -> None:
        for name, child in sorted(_names(node, loss, chance).items()):
            path = prefix + name
            if child.data is None:
                state[path] = None
                walk(child, path + "/")
            else:
                if child not in contents:
                    contents[child] = _content(child, loss, chance)
                state[path] = contents[child]

    walk(disk.top, "")
    return state


def _names(node: Node, loss: str, chance: random.Random) -> dict[str, Node]:
    if loss == "bytes":
        return node.names
    if loss in ("all", "names"):
        return node.durable_names
    found = {}
    for name in {**node.durable_names, **node.names}:
        child = chance.choice((node.durable_names, node.names)).get(name)
        if child is not None:
            found[name] = child
    return found


def _content(node: Node, loss: str, chance: random.Random) -> bytes:
    now = bytes(node.data or b"")
    if loss == "names" or now == node.durable:
        return now
    if loss in ("all", "bytes"):
        return node.durable
    torn = now[: chance.randrange(len(now) + 1)]
    return chance.choice((node.durable, now, torn, bytes(len(now))))


def build(state: State, root: Path) -> None:
    """Make a directory of a state; ``root`` must not exist."""
    root.mkdir(parents=True)
    for name, content in state.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(content)
