"""``xttsreg demo``."""

from __future__ import annotations

from pathlib import Path

import click

from xttsreg.cli.context import App, common_options, json_option, pass_app
from xttsreg.cli.output import print_json, print_table, say


@click.command("demo")
@click.option("--directory", type=click.Path(path_type=Path), default=Path("xttsreg-demo"),
              show_default=True, help="Where everything is put.")  # fmt: skip
@json_option
@common_options
@pass_app
def demo_command(app: App, directory: Path, as_json: bool) -> None:
    """Run the whole circle on tiny random weights: does this machine have what it takes?

    Fetches over local HTTP, bundles, imports into an empty store with the network cut, fine-tunes
    two epochs with the real trainer, registers the voice and speaks with it.
    """
    from xttsreg.demo.run import run_demo
    from xttsreg.training.environment import require_training

    require_training()
    rows = run_demo(directory, say)
    table = [{"step": row.step, "result": row.result} for row in rows]
    if as_json:
        print_json(table)
        return
    print_table(table, {"step": "STEP", "result": "RESULT"})
