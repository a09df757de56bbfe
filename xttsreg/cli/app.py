"""The ``xttsreg`` command: the list of verbs, and what becomes of errors."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback
from collections.abc import Sequence

import click

import xttsreg
from xttsreg.cli.context import App, common_options
from xttsreg.errors import XttsregError

# Verb -> (module, help). Modules are loaded when the verb is used.
VERBS = {
    "catalog": ("catalog", "Show the pinned weight sets."),
    "fetch": ("fetch", "Bring a pinned weight set from the network into the store."),
    "add": ("add", "Take weights, a dataset or a run into the store."),
    "ls": ("ls", "List what is in the store."),
    "inspect": ("inspect", "Show one weight set or voice, or what a .pth file is."),
    "tag": ("tag", "Give a manifest another name."),
    "rm": ("tag", "Remove a name."),
    "gc": ("gc", "Remove what no name needs."),
    "verify": ("verify", "Read everything again and check it."),
    "checkout": ("checkout", "Write a set as plain files with their real names."),
    "bundle": ("bundle", "Write a bundle for the way through the air gap."),
    "import": ("importing", "Check a bundle and take it in."),
    "inventory": ("inventory", "Say what this store has, so that bundles bring only the rest."),
    "push": ("registry", "Copy a set or voice into an OCI registry."),
    "pull": ("registry", "Copy a set or voice from an OCI registry."),
    "copy": ("registry", "Copy a set or voice from one OCI registry to another."),
    "login": ("registry", "Keep a name and password for a registry."),
    "logout": ("registry", "Forget them."),
    "serve": ("serve", "Serve the store to other machines, and show it in a browser."),
    "doctor": ("doctor", "Check machine, store and dataset before a training run."),
    "train": ("train", "Fine-tune XTTS_v2 offline and register the voice."),
    "runs": ("runs", "List the training runs and how far they came."),
    "exec": ("exec", "Run any recipe, unmodified, with the weights of the store."),
    "export": ("export", "Write a voice as a folder that stock TTS loads."),
    "synth": ("synth", "Speak a text with a voice."),
    "demo": ("demo", "Run the whole circle on tiny random weights."),
}


class Verbs(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the workflow, not of the alphabet."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one verb."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"xttsreg.cli.{VERBS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Help without loading every verb."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(xttsreg.__version__, message="%(prog)s %(version)s")
@common_options
def xttsreg_command() -> None:
    """Offline asset bundler and local model registry for XTTS_v2.

    Online: xttsreg fetch xtts_v2, xttsreg bundle xtts_v2 -o STICK.
    Offline: xttsreg import STICK, xttsreg train --model xtts_v2 ...
    """


def run(arguments: Sequence[str]) -> int:
    """Parse and run; errors become two lines on stderr and an exit code."""
    app = App()
    try:
        code = xttsreg_command.main(
            args=list(arguments), prog_name="xttsreg", standalone_mode=False, obj=app
        )
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except XttsregError as error:
        return _fail(app, error.message, error.hint, error.exit_code)
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        return _fail(app, "interrupted", "what is done is kept; run it again to go on", 130)
    except BrokenPipeError:
        _silence_stdout()  # the reader (head, less) has gone
        return 0
    except SystemExit as stop:
        # Click's own answer to a reader that has gone; it silences stdout by this wrapper, whose
        # name is private in some versions.
        if type(sys.stdout).__name__.endswith("PacifyFlushWrapper"):
            return 0
        return stop.code if isinstance(stop.code, int) else 1
    except Exception as error:
        # A store's own errors have been named by now; what is left of these is stdout's.
        if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
            _silence_stdout()
            text = f"the output cannot be written: {error.strerror}"
            return _fail(
                app, text, "make room where it goes; what was done in the store is kept", 5
            )
        text = f"unexpected {type(error).__name__}: {error}"
        return _fail(app, text, "this is a bug in xttsreg; repeat with --debug for the details", 1)


def _silence_stdout() -> None:
    """Point it elsewhere, so that Python does not try once more when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(app: App, message: str, hint: str | None, code: int) -> int:
    if app.debug:
        traceback.print_exc()
    click.echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True)
    hint = hint or _HINTS.get(code, _HINTS[1])
    click.echo(f"{click.style('next:', bold=True)}  {hint}", err=True)
    return code


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)

# What to do next where an error itself does not say, by exit code.
_HINTS = {
    1: "repeat with --debug for the details",
    2: "mend what was given; `xttsreg VERB --help` says what is expected",
    3: "`xttsreg ls` and `xttsreg catalog ls` show what there is",
    4: "what was wrong is not used; bring it again from its source",
    5: "look at the disk, or give another place with --store",
    6: "check the network and the address, then run it again: what came is kept",
}
