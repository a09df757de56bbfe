"""``xttsreg export``."""

from __future__ import annotations

from pathlib import Path

import click

from xttsreg.cli.context import App, common_options, json_option, pass_app
from xttsreg.cli.output import print_json, say
from xttsreg.content.reference import Reference


@click.command("export")
@click.argument("ref")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--modelcar", is_flag=True,
              help="Write an OCI image instead, for image volumes of Kubernetes.")  # fmt: skip
@json_option
@common_options
@pass_app
def export_command(app: App, ref: str, directory: Path, modelcar: bool, as_json: bool) -> None:
    """Write the voice REF into DIRECTORY, as stock TTS loads it, with licence and lineage.json.

    In Python: Xtts.load_checkpoint(config, checkpoint_dir=DIRECTORY, strict=True).
    """
    if modelcar:
        _modelcar(app, Reference.parse(ref), directory, as_json)
        return
    from xttsreg.ops.export import export

    done = export(app.store(), Reference.parse(ref), directory, progress=app.progress())
    if as_json:
        print_json(done.as_dict())
        return
    say(f"{len(done.files)} files: {', '.join(done.files)}")
    click.echo(str(done.directory))


def _modelcar(app: App, reference: Reference, directory: Path, as_json: bool) -> None:
    from xttsreg.ops.modelcar import export_modelcar

    done = export_modelcar(app.store(), reference, directory, progress=app.progress())
    if as_json:
        print_json({"directory": str(done.directory), "tag": done.tagged,
                    "digest": done.index.digest})  # fmt: skip
        return
    say("an image in an OCI layout; without --preserve-digests skopeo would compress it")
    say(f"skopeo copy --all --preserve-digests oci:{directory}:{done.tagged} docker://...")
    click.echo(f"{done.tagged}@{done.index.digest}")
