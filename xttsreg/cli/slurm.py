"""``xttsreg train --slurm``: the same command, as a job of Slurm."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from xttsreg.cli.context import App
from xttsreg.cli.output import print_json, say

if TYPE_CHECKING:
    from xttsreg.training.request import Request
    from xttsreg.training.slurm.queue import State
    from xttsreg.training.slurm.submit import Submitted

F = TypeVar("F", bound=Callable[..., Any])

# Said here, or once more in another form.
_NOT_PASSED = {"slurm", "detach", "follow", "output", "dataset", "resume", "accept_license"}
_COMMON = {"store_path", "catalogs", "quiet", "debug"}
_INTERRUPTED = 130


def slurm_options(command: F) -> F:
    """Give a command ``--slurm``, ``--detach`` and ``--follow``."""
    options = [
        click.option("--slurm", multiple=True, metavar="KEY=VALUE,...",
                     help="Train as a job of Slurm, with these keys of sbatch, e.g. "
                     "partition=gpu,gres=gpu:4,time=24:00:00; its log is shown here."),
        click.option("--detach", is_flag=True,
                     help="With --slurm: print the job's number, and don't wait for it."),
        click.option("--follow", metavar="JOB",
                     help="Show the log of a job that was submitted before, until it ends."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Where the run is to be.

    Attributes:
        keys: For sbatch.
        detach: Submit only.
        as_json: What is said of the job is for programs.
        accept_license: As it was given.
    """

    keys: dict[str, Any]
    detach: bool
    as_json: bool
    accept_license: bool

    @classmethod
    def of(
        cls, slurm: Sequence[str], *, detach: bool, as_json: bool, accept_license: bool
    ) -> Cluster | None:
        """None without ``--slurm``."""
        if not slurm:
            if detach:
                raise click.UsageError("--detach is for --slurm")
            return None
        from xttsreg.training.slurm import keys
        from xttsreg.training.slurm.submit import require_slurm

        chosen = keys.parse(slurm)
        require_slurm()
        return cls(keys=chosen, detach=detach, as_json=as_json, accept_license=accept_license)

    def begin(self, context: click.Context, app: App, request: Request) -> int:
        """Submit a new run, and follow it."""
        from xttsreg.training.rehearsal import rehearse

        assert request.output is not None
        accepted = rehearse(
            app.store(), app.catalog(), request,
            ask=app.ask(self.accept_license), progress=app.progress(),
        )  # fmt: skip
        dataset = str(request.dataset or request.options.dataset.absolute())
        more = ["--dataset", dataset, "--output", str(request.output.absolute())]
        return self._submit(context, app, request.output, [*more, *self._yes(accepted)])

    def go_on(
        self, context: click.Context, app: App, directory: Path, given: dict[str, Any]
    ) -> int:
        """Submit a run that has begun, and follow it."""
        from xttsreg.training.rehearsal import rehearse_resume

        accepted = rehearse_resume(
            app.store(), app.catalog(), directory, given,
            ask=app.ask(self.accept_license), progress=app.progress(),
        )  # fmt: skip
        more = ["--resume", str(directory), *self._yes(accepted)]
        if "dataset" in given:
            found = given["dataset"]
            more += ["--dataset", str(found.absolute() if isinstance(found, Path) else found)]
        return self._submit(context, app, directory, more, is_resumed=True)

    def _yes(self, accepted: bool) -> list[str]:
        """A yes at this terminal holds over there, where nobody can be asked."""
        return ["--accept-license"] if accepted or self.accept_license else []

    def _submit(
        self,
        context: click.Context,
        app: App,
        output: Path,
        more: list[str],
        *,
        is_resumed: bool = False,
    ) -> int:
        from xttsreg.training.slurm.job import Job
        from xttsreg.training.slurm.submit import submit

        arguments = ("train", *_again(context), *_common(app), *more)
        job = submit(Job(arguments, output.absolute(), is_resumed), self.keys)
        if self.detach:
            if self.as_json:
                print_json(job.as_dict())
            else:
                say(f"run folder: {job.output}")
                say(f"log: {job.log}")
                click.echo(job.job_id)
            return 0
        if not app.quiet:
            say(f"job {job.job_id}: submitted; its log is {job.log}")
        return _follow(job, app)


def follow_job(job_id: str, app: App) -> int:
    """Follow a job by its number; its exit code is ours."""
    from xttsreg.training.slurm.submit import find_job, require_slurm

    require_slurm()
    return _follow(find_job(job_id), app)


def _follow(job: Submitted, app: App) -> int:
    from xttsreg.training.slurm.follow import follow

    def on_state(state: State) -> None:
        if not app.quiet or state.is_over and state.name != "COMPLETED":
            say(f"job {job.job_id}: {_words(state)}")

    try:
        end = follow(
            job.job_id,
            data=(job.data, _writer(sys.stdout)),
            log=(job.log, _writer(sys.stderr)),
            on_state=on_state,
        )
    except KeyboardInterrupt:
        say(f"job {job.job_id}: no longer followed; it goes on")
        say(f"next:  xttsreg train --follow {job.job_id}, or scancel {job.job_id} to end it")
        return _INTERRUPTED
    return end.exit_code


def _words(state: State) -> str:
    if state.name == "PENDING":
        reason = f" ({state.reason})" if state.reason else ""
        return f"waits{' again' if state.restarts else ''}{reason}"
    if state.name == "RUNNING":
        return f"runs on {state.node}"
    code = f", exit code {state.exit_code}" if state.is_over else ""
    return f"{state.name}{code}"


def _writer(stream: Any) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        stream.flush()
        stream.buffer.write(data)
        stream.buffer.flush()

    return write


def _again(context: click.Context) -> list[str]:
    """The options of this command line, once more."""
    found: list[str] = []
    for option in context.command.params:
        name = option.name or ""
        if name in _NOT_PASSED | _COMMON or not isinstance(option, click.Option):
            continue
        if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        value = context.params[name]
        if option.is_flag:
            found.append(option.opts[0] if value else option.secondary_opts[0])
            continue
        for one in value if option.multiple else (value,):
            found += [option.opts[0], str(one.absolute() if isinstance(one, Path) else one)]
    return found


def _common(app: App) -> list[str]:
    found = ["--store", str(app.place().absolute())]
    for catalog in app.catalogs:
        found += ["--catalog", str(catalog.absolute())]
    return [*found, *(["--quiet"] if app.quiet else []), *(["--debug"] if app.debug else [])]
