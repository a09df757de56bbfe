"""What every verb has: the store, the catalogue, progress, and how they are chosen."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from xttsreg.catalog import Catalog
    from xttsreg.ops.licensing import Ask, Terms
    from xttsreg.ops.progress import Progress
    from xttsreg.stores.layout import LayoutStore

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class App:
    """The options that hold for every verb.

    Attributes:
        store_path: ``--store``; None means the default place.
        catalogs: ``--catalog``, after the built-in one and the user's.
        debug: Show tracebacks.
        quiet: Draw no progress.
    """

    store_path: Path | None = None
    catalogs: list[Path] = field(default_factory=list)
    debug: bool = False
    quiet: bool = False

    def place(self) -> Path:
        """The store's directory."""
        from xttsreg import places

        return self.store_path or places.default_store()

    def store(self, *, create: bool = False) -> LayoutStore:
        """Open the store; with ``create``, make it if it is not there."""
        from xttsreg.stores.layout import LayoutStore

        return LayoutStore.at(self.place()) if create else LayoutStore.open_existing(
            self.place()
        )  # fmt: skip

    def catalog(self) -> Catalog:
        """Built-in, then the user's, then ``--catalog``; later ones win."""
        from xttsreg import places
        from xttsreg.catalog import Catalog

        own = places.user_catalog()
        directories = [places.builtin("registry"), *([own] if own.is_dir() else [])]
        return Catalog.load(*directories, *self.catalogs)

    def progress(self) -> Progress:
        """Bars on a terminal, nothing elsewhere."""
        from xttsreg.cli.bars import progress

        return progress(quiet=self.quiet)

    def token(self) -> str | None:
        """The hub's token, from the environment as the hub's own client has it."""
        return os.environ.get("HF_TOKEN", "").strip() or None

    def ask(self, accepted: bool) -> Ask:
        """How a yes to a licence is got here. Never blocks without a terminal."""

        def ask(terms: Terms) -> str | None:
            _show_terms(terms)
            if accepted:
                return "--accept-license"
            if os.environ.get("COQUI_TOS_AGREED") == "1":
                return "COQUI_TOS_AGREED"
            if not (sys.stdin.isatty() and sys.stderr.isatty()):
                return None
            return "prompt" if click.confirm("Do you accept these terms?", err=True) else None

        return ask


def _show_terms(terms: Terms) -> None:
    click.echo(f"{terms.what} comes under the {terms.license_name}:", err=True)
    for line in terms.summary:
        click.echo(f"  {line}", err=True)


pass_app = click.make_pass_decorator(App)


def _setter(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def callback(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
        app = ctx.ensure_object(App)
        if value:
            setattr(app, name, [*getattr(app, name), *value] if name == "catalogs" else value)
        return value

    return callback


def common_options(command: F) -> F:
    """Give a command ``--store``, ``--catalog``, ``--quiet`` and ``--debug``."""
    directory = click.Path(path_type=Path, file_okay=False)
    options = [
        click.option("--store", "store_path", type=directory, metavar="DIR",
                     help="The store's directory.  [env: XTTSREG_HOME names its parent]",
                     expose_value=False, callback=_setter("store_path")),
        click.option("--catalog", "catalogs", type=directory, metavar="DIR", multiple=True,
                     help="One more directory of pinned sets.",
                     expose_value=False, callback=_setter("catalogs")),
        click.option("-q", "--quiet", is_flag=True, help="No progress.",
                     expose_value=False, callback=_setter("quiet")),
        click.option("--debug", is_flag=True, help="Tracebacks with errors.",
                     expose_value=False, callback=_setter("debug")),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


json_option = click.option("--json", "as_json", is_flag=True, help="For programs.")
license_option = click.option(
    "--accept-license", is_flag=True, help="Say yes to the terms of the weights, without a prompt."
)
globals_option = click.option(
    "--allow-globals", multiple=True, metavar="NAME",
    help="A class or function that a checkpoint's pickle may name, e.g. numpy.dtype; noted beside "
    "the set.",
)  # fmt: skip
