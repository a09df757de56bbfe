"""Which file of the chosen set an address means, and how it gets to where a recipe expects it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

from xttsreg.errors import InvalidModel, NotFoundError
from xttsreg.training.shim.notes import tell
from xttsreg.training.shim.plan import Plan

# The same files have several addresses: the hub's, a mirror's, and the gateway's of the recipes.
_FILE = re.compile(
    r"/(?:coqui/XTTS-v2/(?:resolve|raw)|hf-coqui/XTTS-v2)/(?P<revision>[^/]+)/(?P<name>[^/]+)", re.I
)
# Default of GPTArgs.mel_norm_file and of TorchMelSpectrogram: statistics from before XTTS. A model
# must be trained with its own.
_OLD_STATS = re.compile(r"/v[\d.]+_models/mel_norms\.pth")
_CACHES = re.compile(r"(?:(?:file|simple|block)cache::)+")
_COPIED_BYTES = 16 * 1024 * 1024  # smaller files become the recipe's own and stay with it
_told: set[str] = set()


def is_url(text: object) -> bool:
    """Whether this is an address of the web."""
    return isinstance(text, str) and text.lower().startswith(("http://", "https://"))


def known_file(url: str) -> str | None:
    """Return the name of the file of XTTS_v2 that an address means, if it means one."""
    match = _FILE.fullmatch(unquote(urlsplit(url).path))
    return match["name"] if match else None


def name_for(plan: Plan, url: str) -> str:
    """Return the name of the file in the view that an address means.

    Raises:
        NotFoundError: the store cannot answer; names the address and what would help.
    """
    path = unquote(urlsplit(url).path)
    match = _FILE.fullmatch(path)
    name = match["name"] if match else "mel_stats.pth" if _OLD_STATS.fullmatch(path) else ""
    if not name:
        raise NotFoundError(
            f"{url}: this is no file of XTTS_v2, and the network is cut off for this run",
            hint="`xttsreg fetch xtts_v2` brings XTTS_v2 only; give the recipe a local file",
        )
    if name not in plan.files:
        raise NotFoundError(
            f"{url}: {plan.model} has no {name}",
            hint="`xttsreg exec --model REF` takes another set; `xttsreg fetch xtts_v2` brings "
            "a full one",
        )
    _tell_of_difference(plan, url, match["revision"] if match else "")
    return name


def _tell_of_difference(plan: Plan, url: str, revision: str) -> None:
    """Say once if the recipe gets something else than it names."""
    if revision in ("main", plan.revision) and revision:
        return
    what = revision or urlsplit(url).path.rpartition("/")[2]
    if what not in _told:
        _told.add(what)
        tell(f"xttsreg: the recipe asks for {what}; it gets the file of {plan.model}")


def localize(plan: Plan, value: object) -> object:
    """Return the local path that an address for fsspec or torch means; other values as they are.

    Raises:
        NotFoundError: the store has no answer, or a local file does not exist: fsspec would take
            it for a remote one and fail in its own words.
    """
    if not isinstance(value, str):
        return value
    rest = _CACHES.sub("", value, count=1) if _CACHES.match(value) else value
    if is_url(rest):
        return str(plan.view / name_for(plan, rest))
    if rest != value:
        if "://" not in rest and not Path(rest).exists():
            raise NotFoundError(f"{rest or 'an empty path'}: no such file")
        return rest
    return value


def require_file(path: object, what: str) -> Path:
    """Return a path that a recipe gives, if there is a file.

    Raises:
        InvalidModel: there is none, or the recipe gives nothing; says which setting it was.
    """
    if not path:
        raise InvalidModel(f"{what} is empty", hint=f"give {what} in the recipe's GPTArgs")
    if not Path(str(path)).is_file():
        raise InvalidModel(f"{what}: no file at {path}", hint="correct the path in the recipe")
    return Path(str(path))


def place(plan: Plan, name: str, folder: Path) -> None:
    """Put a file of the view where a recipe expects it.

    Large files are links into the view, which go when the command ends; small ones are copies. A
    file of that name with other content is moved aside: it may be the only one of its kind.

    Args:
        plan: Of this run.
        name: In the view.
        folder: Of the recipe; made if it is not there, as the recipe's own code would not.
    """
    source, target = plan.view / name, folder / name
    folder.mkdir(parents=True, exist_ok=True)
    if target.is_symlink() and target.readlink() == source:
        return
    if _is_leftover(plan, target):
        target.unlink(missing_ok=True)
    if os.path.lexists(target):
        if _is_same(target, plan.files[name]):
            return
        aside = target.with_name(f"{name}.replaced")
        target.replace(aside)
        tell(f"xttsreg: {target} is not the file of {plan.model}; it was moved to {aside.name}")
    partial = folder / f".{name}.{os.getpid()}.partial"
    if source.stat().st_size <= _COPIED_BYTES:
        shutil.copyfile(source, partial)
    else:
        with plan.links.open("a", encoding="utf-8") as ledger:
            ledger.write(f"{target.absolute()}\n")
        partial.symlink_to(source)
    partial.replace(target)


def _is_leftover(plan: Plan, target: Path) -> bool:
    """Whether this is a link of a run that was killed, before it could remove its links."""
    if not target.is_symlink() or target.exists():
        return False
    view = target.readlink().parent
    return view.name == plan.view.name and view.parent.parent == plan.state.parent


def is_from_store(plan: Plan, name: str, path: Path) -> bool:
    """Whether a file that a recipe uses is the set's, by place or by content."""
    return path.resolve() == (plan.view / name).resolve() or _is_same(path, plan.files.get(name))


def _is_same(path: Path, sha256: str | None) -> bool:
    if sha256 is None or not path.is_file():
        return False
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest() == sha256


def remove_links(plan: Plan) -> None:
    """Remove the links that `place` made, at the end of the command."""
    if not plan.links.is_file():
        return
    for line in set(plan.links.read_text(encoding="utf-8").splitlines()):
        path = Path(line)
        if path.is_symlink() and plan.view in path.readlink().parents:
            path.unlink(missing_ok=True)
