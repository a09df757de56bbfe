"""Everything by which TTS gets files: ModelManager, the hub, fsspec and ``torch.load``."""

from __future__ import annotations

import functools
import io
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from xttsreg.content.checkpoint import CONFIG_CLASSES, CheckpointSummary, require_safe
from xttsreg.training.engine import config_classes
from xttsreg.training.shim.plan import Plan
from xttsreg.training.shim.weights import known_file, localize, name_for, place

_CACHE_OPTIONS = ("filecache", "simplecache", "blockcache")
_REPOSITORIES = ("coqui/xtts-v2", "tts-hub/xtts-v2")  # the second is where coqui-tts looks
_OPTIONAL = ("hash.md5", "speakers_xtts.pth")


def patch_torch(plan: Plan, torch: Any) -> None:
    """Put the allowlist, and ``weights_only=True`` behind it, before every ``torch.load``.

    Args:
        plan: Of this run.
        torch: The module.
    """
    plain = torch.load

    @functools.wraps(plain)
    def load(f: Any, *args: Any, **kwargs: Any) -> Any:
        f = localize(plan, f)
        summary = _check(f)
        names = tuple(name for name in CONFIG_CLASSES if name in summary.globals)
        kwargs["weights_only"] = True
        kwargs.pop("pickle_module", None)  # the two exclude each other
        with torch.serialization.safe_globals(config_classes(names)):
            return plain(f, *args[:1], **kwargs)

    torch.load = torch.serialization.load = load


def _check(source: Any) -> CheckpointSummary:
    """Apply the allowlist to a file or a stream; a stream is left where it was."""
    if isinstance(source, (str, os.PathLike)):
        return require_safe(Path(source))
    name = getattr(source, "name", None)
    if isinstance(name, str) and Path(name).is_file() and source.tell() == 0:
        return require_safe(Path(name))
    start = source.tell()
    with tempfile.NamedTemporaryFile(suffix=".pth") as copy:
        while chunk := source.read(1 << 20):
            copy.write(chunk)
        copy.flush()
        source.seek(start, io.SEEK_SET)
        return require_safe(Path(copy.name))


def patch_fsspec(plan: Plan, fsspec: Any) -> None:
    """Answer addresses that TTS and trainer open through fsspec."""
    plain = fsspec.open

    @functools.wraps(plain)
    def open_(urlpath: Any, *args: Any, **kwargs: Any) -> Any:
        path = localize(plan, urlpath)
        if path != urlpath:
            for option in _CACHE_OPTIONS:
                kwargs.pop(option, None)
        return plain(path, *args, **kwargs)

    fsspec.open = open_


def patch_hub(plan: Plan, module: Any) -> None:
    """Answer ``hf_hub_download`` and ``snapshot_download`` of XTTS_v2's repository.

    Args:
        plan: Of this run.
        module: ``huggingface_hub.file_download`` or ``huggingface_hub._snapshot_download``.
    """
    # the second module has both names, the file's only imported
    name = next(n for n in ("snapshot_download", "hf_hub_download") if hasattr(module, n))
    plain = getattr(module, name)

    @functools.wraps(plain)
    def download(repo_id: str, *args: Any, **kwargs: Any) -> str:
        if repo_id.lower() not in _REPOSITORIES:
            return str(plain(repo_id, *args, **kwargs))
        if name == "snapshot_download":
            names = list(plan.files)
        else:
            file = args[0] if args else kwargs["filename"]
            revision = kwargs.get("revision") or "main"
            url = f"https://huggingface.co/coqui/XTTS-v2/resolve/{quote(revision, '')}/{file}"
            names = [name_for(plan, url)]
        folder = plan.view
        if kwargs.get("local_dir"):
            folder = Path(kwargs["local_dir"])
            for wanted in names:
                place(plan, wanted, folder)
        return str(folder if name == "snapshot_download" else folder / names[0])

    setattr(module, name, download)


def patch_manager(plan: Plan, manage: Any) -> None:
    """Answer ``ModelManager``: its downloads, its cache of XTTS_v2, and its licence gate."""
    manager = manage.ModelManager

    def download_files(
        file_urls: Sequence[str], output_folder: str, progress_bar: bool = False
    ) -> None:
        wanted = [url for url in file_urls if not _can_do_without(plan, url)]
        names = [name_for(plan, url) for url in wanted]  # all or none
        for name in names:
            place(plan, name, Path(output_folder))

    def refuse_archive(file_url: str, output_folder: str, progress_bar: bool = False) -> None:
        name_for(plan, file_url)

    manager._download_model_files = staticmethod(download_files)
    manager._download_zip_file = staticmethod(refuse_archive)
    manager._download_tar_file = staticmethod(refuse_archive)
    _patch_gates(plan, manager)
    _patch_cache(plan, manager)


def _patch_gates(plan: Plan, manager: Any) -> None:
    agreed, create = manager.tos_agreed, manager.create_dir_and_download_model

    def tos_agreed(model_item: dict[str, Any], model_full_path: str) -> bool:
        # `exec` does not start before the set's terms are accepted; it speaks for no other model
        return _is_ours(model_item) or bool(agreed(model_item, model_full_path))

    def create_dir_and_download_model(
        self: Any, model_name: str, model_item: dict[str, Any], output_path: Any
    ) -> Any:
        # before it makes the directory, which it would later take for a finished download
        for url in _urls(model_item):
            if not _can_do_without(plan, url):
                name_for(plan, url)
        return create(self, model_name, model_item, output_path)

    manager.tos_agreed = staticmethod(tos_agreed)
    manager.create_dir_and_download_model = create_dir_and_download_model


def _patch_cache(plan: Plan, manager: Any) -> None:
    plain = manager.download_model

    def download_model(self: Any, model_name: str) -> Any:
        """Use a cache of this run for XTTS_v2: ``ModelManager`` empties its own when it fails."""
        item = self._set_model_item(model_name)[0]
        if not _is_ours(item):
            return plain(self, model_name)
        before = self.output_prefix
        self.output_prefix = plan.state / "tts"
        try:
            return plain(self, model_name)
        finally:
            self.output_prefix = before

    manager.download_model = download_model


def _urls(model_item: dict[str, Any]) -> list[str]:
    found = model_item.get("hf_url") or model_item.get("github_rls_url")
    found = found or model_item.get("model_url") or []
    return [found] if isinstance(found, str) else list(found)


def _is_ours(model_item: dict[str, Any]) -> bool:
    repository = str(model_item.get("repo_id", "")).lower()
    return repository in _REPOSITORIES or any(known_file(url) for url in _urls(model_item))


def _can_do_without(plan: Plan, url: str) -> bool:
    """Whether the set lacks a file that TTS does not need: voices have no version token."""
    name = known_file(url)
    return name in _OPTIONAL and name not in plan.files
