"""``xttsreg train --slurm``: the same command, as a job of Slurm."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from xttsreg.cli.context import App
from xttsreg.cli.output import print_json, say
from xttsreg.content.reference import Reference

if TYPE_CHECKING:
    from xttsreg.stores.layout import LayoutStore
    from xttsreg.training.request import Request
    from xttsreg.training.slurm.job import Job
    from xttsreg.training.slurm.pulling import Pull
    from xttsreg.training.slurm.queue import State
    from xttsreg.training.slurm.submit import Submitted

F = TypeVar("F", bound=Callable[..., Any])

# Said here, or once more in another form.
_NOT_PASSED = {
    "slurm", "detach", "follow", "pull", "model", "output", "dataset", "resume", "accept_license",
}  # fmt: skip
COMMON = {"store_path", "catalogs", "quiet", "debug"}
_INTERRUPTED = 130


def slurm_options(command: F) -> F:
    """Give a command ``--slurm`` and what goes with it."""
    options = [
        click.option("--slurm", multiple=True, metavar="KEY=VALUE,...",
                     help="Train as a job of Slurm, with these keys of sbatch, e.g. "
                     "partition=gpu,gres=gpu:4,time=24:00:00; its log is shown here."),
        click.option("--detach", is_flag=True,
                     help="With --slurm: print the job's number, and don't wait for it."),
        click.option("--pull", metavar="HOST/REPOSITORY[:TAG]",
                     help="With --slurm: bring the model from this registry to the node's own disk "
                     "first; http://HOST/... without TLS."),
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
        pull: What the job brings to its node.
        detach: Submit only.
        as_json: What is said of the job is for programs.
        accept_license: As it was given.
    """

    keys: dict[str, Any]
    pull: Pull | None
    detach: bool
    as_json: bool
    accept_license: bool

    @classmethod
    def of(
        cls,
        slurm: Sequence[str],
        *,
        pull: str | None,
        detach: bool,
        as_json: bool,
        accept_license: bool,
    ) -> Cluster | None:
        """None without ``--slurm``."""
        if not slurm:
            if detach or pull:
                raise click.UsageError(f"{'--detach' if detach else '--pull'} is for --slurm")
            return None
        from xttsreg.training.slurm import keys
        from xttsreg.training.slurm.pulling import look_up
        from xttsreg.training.slurm.submit import require_slurm

        chosen = keys.parse(slurm)
        require_slurm()
        return cls(
            keys=chosen, pull=look_up(pull) if pull else None,
            detach=detach, as_json=as_json, accept_license=accept_license,
        )  # fmt: skip

    def begin(self, context: click.Context, app: App, store: LayoutStore, request: Request) -> int:
        """Submit a new run, and follow it."""
        from xttsreg.training.rehearsal import rehearse

        output = request.output
        assert output is not None
        if self.pull:
            if request.shared:
                raise click.UsageError("--pull and --from: the model comes from one of them")
            request = replace(request, model=self.pull.model(request.model))
        accepted = rehearse(
            store, app.catalog(), request, is_pulled=self.pull is not None,
            ask=app.ask(self.accept_license), progress=app.progress(),
        )  # fmt: skip
        # Names may mean something else when the job's turn comes: it gets what was checked here.
        model, dataset = request.model, str(request.options.dataset.absolute())
        if not self.pull:
            model = _pinned(request.shared or store, model)
        if request.dataset:
            dataset = str(_pinned(store, request.dataset))
        more = ["--model", str(model), "--output", str(output.absolute())]
        job = self._job(context, app, output, model, more, accepted)
        return self._submit(app, replace(job, fresh=("--dataset", dataset)))

    def go_on(
        self, context: click.Context, app: App, directory: Path, given: dict[str, Any]
    ) -> int:
        """Submit a run that has begun, and follow it."""
        from xttsreg.training.rehearsal import rehearse_resume
        from xttsreg.training.runs import read_record
        from xttsreg.training.slurm.pulling import require_same

        store = app.store(create=self.pull is not None or "shared" in given)
        accepted = rehearse_resume(
            store, app.catalog(), directory, given, is_pulled=self.pull is not None,
            ask=app.ask(self.accept_license), progress=app.progress(),
        )  # fmt: skip
        model = Reference.parse(read_record(directory)["origin"]["model"])
        if self.pull:
            require_same(self.pull, model)
        more = ["--resume", str(directory)]
        if "dataset" in given:
            found = given["dataset"]
            more += ["--dataset", str(found.absolute() if isinstance(found, Path) else found)]
        job = self._job(context, app, directory, model, more, accepted)
        return self._submit(app, replace(job, is_resumed=True))

    def _job(
        self,
        context: click.Context,
        app: App,
        output: Path,
        model: Reference,
        more: list[str],
        accepted: bool,
    ) -> Job:
        from xttsreg.training.slurm.job import Job

        # A yes at this terminal holds over there, where nobody can be asked.
        accepted = accepted or self.accept_license
        yes = ["--accept-license"] if accepted else []
        pull = self.pull.arguments(model, is_accepted=accepted) if self.pull else ()
        arguments = ("train", *_again(context), *_common(app), *more, *yes)
        return Job(arguments, output.absolute(), pull=pull)

    def _submit(self, app: App, job: Job) -> int:
        from xttsreg.training.slurm.submit import submit

        done = submit(job, self.keys)
        if not self.detach:
            if not app.quiet:
                say(f"job {done.job_id}: submitted; its log is {done.log}")
            return _follow(done, app)
        if self.as_json:
            print_json(done.as_dict())
        else:
            say(f"run folder: {done.output}")
            say(f"log: {done.log}")
            click.echo(done.job_id)
        return 0


def _pinned(store: LayoutStore, name: Reference) -> Reference:
    from xttsreg.stores.base import resolve

    return Reference(name.name, name.tag, resolve(store, name).digest)


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
        if end.exit_code and end.node and not job.log.exists():
            say(f"next:  it wrote nothing: does {end.node} see {job.log.parent}?")
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
        if name in _NOT_PASSED | COMMON or not isinstance(option, click.Option):
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
