"""What can be done with an item, as commands to copy."""

from __future__ import annotations

from collections.abc import Iterator

from xttsreg.content.modelpack import REFERENCE_FILE, TRAIN_FILES
from xttsreg.look.pieces import Html, escape
from xttsreg.serve.census import base_of
from xttsreg.serve.shelf import Item, Snapshot

_SHORT = 20  # characters


def commands(item: Item, snapshot: Snapshot, origin: str, *, locked: bool) -> Html:
    """The commands, each with its button.

    Args:
        item: What they are about.
        snapshot: The store.
        origin: Scheme, host and port as the browser has them.
        locked: Whether readers need a token.
    """
    rows = []
    for number, (label, command) in enumerate(_use(item, snapshot, origin, locked)):
        key = f"command-{number}"
        rows.append(
            f'<h3>{escape(label)}</h3><div class="command"><pre id="{key}" tabindex="0">'
            f'{_unbroken(command)}</pre><button type="button" data-copy="{key}" hidden '
            f'aria-label="Copy: {escape(label)}">Copy</button></div>'
        )
    return "".join(rows)


def _unbroken(command: str) -> Html:
    """A command whose options, and short words, are not torn apart after their dashes."""
    words = (f'<span class="option">{escape(word)}</span>'
             if "-" in word[:_SHORT] and (word[0] == "-" or len(word) <= _SHORT) else escape(word)
             for word in command.split(" "))  # fmt: skip
    return " ".join(words)


def _use(item: Item, snapshot: Snapshot, origin: str, locked: bool) -> Iterator[tuple[str, str]]:
    ref, repo, host = item.tagged, item.repo, origin.partition("://")[2]
    yield from _train(item, snapshot)
    if item.kind in ("weights", "voice"):
        yield (
            "Speak with it",
            f'xttsreg synth {ref} --text "Good morning." --language en -o hello.wav'
            + ("" if REFERENCE_FILE in item.files else " --speaker-wav clip.wav"),
        )
    if item.kind == "run":
        yield "Go on with it", f"xttsreg checkout {ref} RUN && xttsreg train --resume RUN"
    plain = "" if origin.startswith("https") else " --plain-http"
    yield "Bring it into another machine's store", f"xttsreg pull {host}/{ref}{plain}"
    kind = " --repo-type dataset" if item.kind == "dataset" else ""
    token = "HF_TOKEN=... " if locked else ""
    yield (
        "Or its files alone, with the hub's client",
        f"{token}HF_ENDPOINT={origin} hf download {repo} --revision {item.tag}{kind} "
        f"--local-dir {repo.rpartition('/')[2]}",
    )


def _train(item: Item, snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """How to train with it; a voice has not all that training needs, and its base has."""
    what, model, data = "Train from it", item.tagged, "DIR"
    if item.kind == "dataset":
        what, model, data = "Train with it", _any_trainable(snapshot), item.tagged
    elif not _is_trainable(item):
        base = base_of(item)
        if item.kind != "voice" or base is None:
            return
        what, model = "Train another voice from its base", base.tagged
        if base.digest in snapshot.names:
            model = snapshot.names[base.digest][0].tagged
    yield (
        what,
        f"xttsreg train --model {model} --dataset {data} --formatter ljspeech --language en "
        "--name my-voice",
    )


def _is_trainable(item: Item) -> bool:
    return item.kind in ("weights", "voice") and set(TRAIN_FILES) <= item.files.keys()


def _any_trainable(snapshot: Snapshot) -> str:
    return next((it.tagged for it in snapshot.items.values() if _is_trainable(it)), "xtts_v2:main")
