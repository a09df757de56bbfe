"""Going on with a run, and what is no run."""

from __future__ import annotations

import pytest
from support import run_cli

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("tts")]


@pytest.mark.parametrize("name", [".", "model.pth"])
def test_an_inference_checkpoint_is_refused_at_the_command_line(tiny, home, name):
    done = run_cli(["train", "--resume", tiny / name], home)
    assert done.code == 2
    assert len(done.stderr.splitlines()) == 2
    assert "0 / N layers are restored" in done.stderr
    assert "KeyError 'step'" in done.stderr
    assert "xttsreg train --model" in done.stderr


def test_no_such_run(home):
    done = run_cli(["train", "--resume", "nothing"], home)
    assert done.code == 2
    assert "nothing: no such run" in done.stderr
