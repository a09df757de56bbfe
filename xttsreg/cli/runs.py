"""``xttsreg runs``."""

from __future__ import annotations

from typing import Any

import click

from xttsreg.cli.context import App, common_options, json_option, pass_app
from xttsreg.cli.output import print_json, print_table


@click.command("runs")
@json_option
@common_options
@pass_app
def runs_command(app: App, as_json: bool) -> None:
    """List the training runs: state, step, loss, and where they are.

    `xttsreg train --resume NAME` goes on with one that was interrupted, killed or failed.
    """
    from xttsreg.training.runs import list_runs

    rows = [run.as_dict() for run in list_runs()]
    if as_json:
        print_json(rows)
        return
    table = [
        {**row, "loss": _loss(row["loss"]), "eval_loss": _loss(row["eval_loss"]),
         "voice": _voice(row)}
        for row in rows
    ]  # fmt: skip
    headings = {"name": "RUN", "state": "STATE", "epoch": "EPOCH", "step": "STEP", "loss": "LOSS",
                "eval_loss": "EVAL", "voice": "VOICE", "directory": "FOLDER"}  # fmt: skip
    print_table(table, headings)


def _loss(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _voice(row: dict[str, Any]) -> str:
    """A run that is over and whose voice is not in the store must not look like one that is."""
    lacks = row["state"] == "finished" and row["voice"] and not row["registered"]
    return f"{row['voice']} (not registered)" if lacks else str(row["voice"])
