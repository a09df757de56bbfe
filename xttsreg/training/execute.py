"""``xttsreg exec``: any recipe, unmodified, with the weights of a set of the store."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from xttsreg.catalog import Catalog
from xttsreg.content.artifacts import kind_of, require_model
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.manifest import Manifest
from xttsreg.content.modelpack import REVISION, TRAIN_FILES
from xttsreg.content.reference import Reference
from xttsreg.errors import InvalidInputError, NotFoundError, XttsregError
from xttsreg.ops import licensing
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.ops.views import check_after, checkout
from xttsreg.stores.base import read_manifest, resolve
from xttsreg.stores.layout import LayoutStore
from xttsreg.training import network
from xttsreg.training.environment import offline_environment
from xttsreg.training.mounts import can_isolate, isolate
from xttsreg.training.recipe import ARCHITECTURE, read_model_config
from xttsreg.training.shim import notes
from xttsreg.training.shim.plan import VARIABLE, Plan
from xttsreg.training.shim.weights import remove_links

_PREFIX = "exec-"
_HOOK = Path(__file__).resolve().parent / "shim" / "hook"
_OWN_CHOICE = ("MPLBACKEND", "TRANSFORMERS_VERBOSITY", "TOKENIZERS_PARALLELISM")
_OWN_FILES = re.compile(r"\S*/exec-\w+/sources-\d+")  # gone when the message is read
_WAYS = {
    "reflink": "by reflink: the files are clones, the store is out of reach",
    "copy": "by copy: there are no reflinks here, and links would not be safe or not possible",
    "mount": "by hard links under a read-only mount of the command's own",
    "hardlink": "by hard links; a private mount is not permitted here, so the store's blobs are "
    "checked after the run",
}


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended.

    Attributes:
        exit_code: The command's; 128 and the signal's number if that ended it.
        way: How it saw the weights: reflink, mount, hardlink or copy.
    """

    exit_code: int
    way: str


def execute(
    store: LayoutStore,
    catalog: Catalog,
    command: Sequence[str],
    *,
    model: Reference | None = None,
    ask: licensing.Ask,
    progress: Progress = QUIET,
    debug: bool = False,
) -> Ended:
    """Run a command whose Python processes get XTTS_v2 from the store, and no network.

    Args:
        store: Where the weights are.
        catalog: For the terms.
        command: Program and arguments.
        model: The set that answers; None for the only one that can be trained.
        ask: Gets a yes to the set's terms.
        progress: Watches the check of the weights, and is told what people may want to know.
        debug: Show tracebacks of refusals.

    Returns:
        The exit code of the command.

    Raises:
        XttsregError: the command could not be started; or the shim has refused something, and the
            command ended over it.
    """
    program = find_program(command[0])
    reference = model or only_trainable(store)
    entry = resolve(store, reference)
    manifest = read_manifest(store, entry)
    require_model(reference, manifest)
    terms = licensing.terms_for(reference.tagged, manifest, catalog)
    licensing.require(store, entry, manifest, terms, ask)
    with _state_directory(store) as state:
        way = _check_out(store, entry, state / "view", progress)
        progress.note(f"weights: {reference.tagged}, checked, {_WAYS[way]}")
        offline = os.environ.get(network.VARIABLE) != "hook" and network.can_cut_off()
        progress.note(f"network: {network.WAYS['namespace' if offline else 'hook']}")
        plan = _plan(reference, entry, manifest, state, debug)
        try:
            code = _run([program, *command[1:]], plan, isolated=way == "mount", offline=offline)
        finally:
            remove_links(plan)
        if way in ("hardlink", "mount"):
            check_after(store, entry)
        _judge(plan, code, offline, progress)
    return Ended(code, way)


def _check_out(store: LayoutStore, entry: Descriptor, view: Path, progress: Progress) -> str:
    """Make the view; return the way that it took."""
    view.mkdir()
    isolated = can_isolate(view)
    # The mode 0444 of a linked blob stops everybody but root.
    links = isolated or os.geteuid() != 0
    way = checkout(store, entry, view, hardlink=links, use_cache=False, progress=progress)
    return "mount" if way == "hardlink" and isolated else way


def find_program(name: str) -> str:
    """Return the path of a program, as a shell would find it.

    A bare ``python`` that is not on the path means the one that runs xttsreg.

    Raises:
        NotFoundError: there is none.
        InvalidInputError: it may not be executed.
    """
    found = shutil.which(name)
    if found:
        return found
    if name in ("python", "python3"):
        return sys.executable
    if Path(name).is_file():
        raise InvalidInputError(
            f"{name}: not executable", hint=f"run it by its program: -- python {name}"
        )
    raise NotFoundError(f"{name}: no such command", hint="xttsreg exec -- python RECIPE.py")


def only_trainable(store: LayoutStore) -> Reference:
    """Return the one set of the store that has all files for training.

    Raises:
        NotFoundError: there is none.
        InvalidInputError: there are several; names them.
    """
    found: dict[Any, list[str]] = {}  # several names of one manifest are one set
    for tagged, entry in store.tags().items():
        manifest = read_manifest(store, entry)
        if kind_of(manifest) in ("weights", "voice") and set(TRAIN_FILES) <= set(manifest.files()):
            found.setdefault(entry.digest, []).append(tagged)
    if not found:
        raise NotFoundError(
            "the store has no weight set to train on",
            hint="`xttsreg fetch xtts_v2` or `xttsreg import` brings one; --model REF takes a "
            "voice for inference",
        )
    if len(found) > 1:
        names = sorted(tagged[0] for tagged in found.values())
        raise InvalidInputError(
            f"the store has {len(names)} sets to train on: {', '.join(names)}",
            hint=f"choose one: xttsreg exec --model {names[0]} -- ...",
        )
    return Reference.parse(next(iter(found.values()))[0])


@contextmanager
def _state_directory(store: LayoutStore) -> Iterator[Path]:
    """A directory for this run, beside the blobs if possible; those of killed runs go."""
    parent = store.state if store.is_writable() else None
    with ExitStack() as stack:
        # under the store's lock: a directory whose own lock is free is nobody's then
        with store.locked() if parent else nullcontext():
            for old in parent.glob(f"{_PREFIX}*/") if parent else ():
                _sweep(old)
            made = stack.enter_context(tempfile.TemporaryDirectory(dir=parent, prefix=_PREFIX))
            state = Path(made).resolve()
            stack.enter_context(FileLock(state / "lock"))
        (state / "notes").mkdir()
        yield state


def _sweep(old: Path) -> None:
    lock = FileLock(old / "lock", timeout=0)
    try:
        with lock:
            shutil.rmtree(old, ignore_errors=True)
    except (Timeout, OSError):
        return  # its command still runs


def _plan(
    reference: Reference, entry: Descriptor, manifest: Manifest, state: Path, debug: bool
) -> Plan:
    view = state / "view"
    own = read_model_config(view).get("model_args") or {}
    return Plan(
        model=reference.tagged,
        revision=manifest.annotations.get(REVISION, ""),
        view=view,
        state=state,
        files={name: layer.digest.hex for name, layer in manifest.files().items()},
        architecture={name: own[name] for name in ARCHITECTURE if own.get(name) is not None},
        debug=debug,
    )


def _run(command: list[str], plan: Plan, *, isolated: bool, offline: bool) -> int:
    """Run the command to its end, with the terminal's signals left to it."""
    path = plan.state / "plan.json"
    plan.save(path)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the command by itself

    def prepare() -> None:
        signal.signal(signal.SIGINT, before)
        if isolated:
            isolate(plan.view)
        if offline:
            network.cut_off()

    try:
        process = subprocess.Popen(command, env=_environment(path), preexec_fn=prepare)
        previous = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        try:
            code = process.wait()
        finally:
            signal.signal(signal.SIGTERM, previous)
    except OSError as error:
        raise InvalidInputError(f"{command[0]}: {error.strerror}") from error
    finally:
        signal.signal(signal.SIGINT, before)
    return code if code >= 0 else 128 - code


def _environment(plan: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _OWN_CHOICE if name in os.environ}
    paths = [str(_HOOK), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        **offline_environment(),
        **kept,
        "PYTHONPATH": os.pathsep.join(paths),
        VARIABLE: str(plan),
    }


def _judge(plan: Plan, code: int, offline: bool, progress: Progress) -> None:
    """Say what was refused, by an error if the command ended over it.

    Raises:
        XttsregError: with the message, hint and exit code of the refusal.
    """
    left = notes.read(plan)
    ending = (notes.REFUSED, notes.FATAL) if code else (notes.REFUSED,)
    for note in left:
        if note.kind in ending:
            message = note.message.replace(str(plan.view), plan.model)
            message = _OWN_FILES.sub("the recipe's files", message)
            error = XttsregError(message, hint=note.hint)
            error.exit_code = note.exit_code
            raise error
    for line in dict.fromkeys(note.message for note in left):
        progress.note(f"refused{'' if code else ', and gone on without'}: {line}")
    if not (plan.state / "python").exists():
        progress.note(
            "note: the command started no Python that reads PYTHONPATH (python -I, -E and -S do "
            "not): nothing was answered from the store"
            + ("" if offline else ", and the network was open")
        )
