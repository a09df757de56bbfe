"""``xttsreg add``."""

from __future__ import annotations

from pathlib import Path

import click

from xttsreg.cli.context import (
    App,
    common_options,
    globals_option,
    json_option,
    license_option,
    pass_app,
)
from xttsreg.cli.output import human_size, print_json, say, shortened
from xttsreg.content.reference import Reference


@click.command("add")
@click.argument("name")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--dataset", "is_dataset", is_flag=True, help="DIRECTORY is a dataset.")
@click.option("--run", "is_run", is_flag=True, help="DIRECTORY is a training run, or its name.")
@click.option("-f", "--force", is_flag=True, help="Move NAME if it means something else.")
@globals_option
@license_option
@json_option
@common_options
@pass_app
def add_command(
    app: App,
    name: str,
    directory: Path,
    is_dataset: bool,
    is_run: bool,
    force: bool,
    allow_globals: tuple[str, ...],
    accept_license: bool,
    as_json: bool,
) -> None:
    """Take weights, a dataset or a run from DIRECTORY into the store as NAME[:TAG].

    A name of the catalogue is checked against its pins. Any other name makes a set of your own
    from the files that XTTS knows: model.pth, vocab.json, dvae.pth, mel_stats.pth, config.json...

    A dataset is the whole folder, hidden files left out. Of a run, the last and the best checkpoint
    are taken, and what it has told; `checkout` makes a folder that `train --resume` goes on with.
    """
    if is_dataset and is_run:
        raise click.UsageError("--dataset and --run exclude each other")
    if is_run:
        _add_run(app, Reference.parse(name), directory, force, as_json)
        return
    if is_dataset:
        _add_dataset(app, Reference.parse(name), directory, force, as_json)
        return
    from xttsreg.ops.add import add

    done = add(
        app.store(create=True),
        Reference.parse(name),
        directory,
        app.catalog(),
        ask=app.ask(accept_license),
        force=force,
        allow_globals=allow_globals,
        progress=app.progress(),
    )
    if done.ignored:
        say(f"left alone: {', '.join(done.ignored)}")
    if as_json:
        print_json({"ref": done.tagged, "digest": done.manifest.digest, "files": done.paths,
                    "ignored": done.ignored})  # fmt: skip
        return
    click.echo(f"{done.tagged}@{done.manifest.digest}")


def _add_dataset(app: App, name: Reference, directory: Path, force: bool, as_json: bool) -> None:
    from xttsreg.ops.datasets import add_dataset

    done = add_dataset(
        app.store(create=True), name, directory, app.catalog(),
        force=force, progress=app.progress(),
    )  # fmt: skip
    if done.hidden:
        say(f"left out, hidden: {shortened(done.hidden)}")
    if as_json:
        print_json({"ref": done.tagged, "digest": done.manifest.digest, "kind": "dataset",
                    "files": done.files, "size_bytes": done.size_bytes,
                    "hidden": done.hidden})  # fmt: skip
        return
    say(f"{done.files} files, {human_size(done.size_bytes)}")
    click.echo(f"{done.tagged}@{done.manifest.digest}")


def _add_run(app: App, name: Reference, directory: Path, force: bool, as_json: bool) -> None:
    from xttsreg.training.resume import find_run
    from xttsreg.training.run_artifact import add_run

    done = add_run(
        app.store(), name, find_run(str(directory)), app.catalog(),
        force=force, progress=app.progress(),
    )  # fmt: skip
    for path, why in done.left.items():
        say(f"left out: {path}: {why}")
    if as_json:
        print_json({"ref": done.tagged, "digest": done.manifest.digest, "kind": "run",
                    "files": done.files, "left": done.left})  # fmt: skip
        return
    click.echo(f"{done.tagged}@{done.manifest.digest}")
