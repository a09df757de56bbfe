"""What of a run's checks another machine can make beforehand, such as a cluster's login node.

They are those of `finetune`, and say the same; but for what belongs to the machine that will train:
its GPU, its memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from xttsreg.catalog import Catalog
from xttsreg.errors import AlreadyExists, NotFoundError
from xttsreg.ops.licensing import Ask
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.stores.layout import LayoutStore
from xttsreg.training import preflight, preflight_data, runs
from xttsreg.training.corpus import Corpus, open_corpus
from xttsreg.training.environment import prepare_environment, require_training
from xttsreg.training.finetune import (
    corpus_again,
    ready,
    request_again,
    require_free,
    require_writable,
)
from xttsreg.training.request import Request


def rehearse(
    store: LayoutStore,
    catalog: Catalog,
    request: Request,
    *,
    ask: Ask,
    is_pulled: bool = False,
    progress: Progress = QUIET,
) -> bool:
    """Check a new run.

    Args:
        store: As `finetune` has it.
        catalog: The same.
        request: With ``output``.
        ask: For a yes to the terms.
        is_pulled: The model comes to the machine that trains; what needs it here is left out if it
            is not here.
        progress: Watches.

    Returns:
        Whether the terms are accepted.

    Raises:
        XttsregError: as `finetune`.
    """
    require_free(store, request.voice)
    assert request.output is not None
    if request.output.exists() and (not request.output.is_dir() or any(request.output.iterdir())):
        raise AlreadyExists(
            f"{request.output} is there already", hint="choose another output directory"
        )
    source = request.dataset or request.options.dataset
    corpus = open_corpus(store, source, request.output, progress)
    return _rehearse(store, catalog, request, corpus, ask, is_pulled, progress)


def rehearse_resume(
    store: LayoutStore,
    catalog: Catalog,
    directory: Path,
    given: Mapping[str, Any],
    *,
    ask: Ask,
    is_pulled: bool = False,
    progress: Progress = QUIET,
) -> bool:
    """Check a run that is to go on. As `rehearse` and `finetune.resume`."""
    require_training()
    with runs.run_lock(directory):
        request, origin = request_again(directory, given)
        corpus = corpus_again(store, request, origin, given, progress)
        return _rehearse(store, catalog, request, corpus, ask, is_pulled, progress)


def _rehearse(
    store: LayoutStore,
    catalog: Catalog,
    request: Request,
    corpus: Corpus,
    ask: Ask,
    is_pulled: bool,
    progress: Progress,
) -> bool:
    require_writable(store)
    require_training()
    subject, is_accepted = None, False
    try:
        _, subject, is_accepted = ready(store, catalog, request, ask)
    except NotFoundError:
        if not is_pulled:
            raise
    assert request.output is not None
    options = replace(request.options, device="cpu", gpus="")  # GPUs here are not the run's
    name = str(corpus.reference or corpus.directory)
    with _same_environment():
        prepare_environment("cpu")
        if subject is not None:
            preflight.before_run(
                subject, options, request.output, progress.note,
                more_bytes=corpus.copied_bytes(store, request.output),
            )  # fmt: skip
        preflight_data.require_dataset(store.root, name, options, subject)
    return is_accepted


@contextmanager
def _same_environment() -> Iterator[None]:
    """Take back what is set for the checks: a job inherits the environment of who submits it."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
