"""What ``xttsreg exec`` does to any program; none of this needs TTS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import (
    catalog_for,
    clean_environment,
    command,
    make_small_set,
    never_ask,
    pinned,
    run_cli,
    say_yes,
)

from xttsreg.catalog import Catalog
from xttsreg.content.reference import Reference
from xttsreg.errors import NotFoundError
from xttsreg.ops.add import add
from xttsreg.stores.layout import LayoutStore
from xttsreg.training.shim import weights as shim
from xttsreg.training.shim.plan import Plan


@pytest.fixture
def stocked(home: Path, weights: Path) -> Path:
    """A home whose store has ``own:v1``."""
    store = LayoutStore.create(home / "store")
    (weights / "config.json").write_text("{}")
    add(store, Reference.parse("own:v1"), weights, Catalog([]), ask=never_ask)
    return home


def run_python(home: Path, code: str, *args: object, **env: str):
    return run_cli(["exec", "--", sys.executable, "-c", code, *args], home, **env)


# --- the command ---------------------------------------------------------------------------


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)])
def test_the_exit_code_is_the_commands(script, code, stocked):
    assert run_cli(["exec", "--", "sh", "-c", script], stocked).code == code


def test_options_of_the_command_are_its_own(stocked):
    done = run_python(stocked, "import sys; print(sys.argv[1:])", "--model", "x", "--help", "-q")
    assert done.stdout.strip() == "['--model', 'x', '--help', '-q']"


def test_options_after_the_command_need_no_separator(stocked):
    done = run_cli(["exec", sys.executable, "-c", "import sys; print(sys.argv[1:])", "-q"], stocked)
    assert done.stdout.strip() == "['-q']"


def test_a_command_that_is_not_there(stocked, tmp_path):
    done = run_cli(["exec", "--", "no-such-program"], stocked)
    assert (done.code, done.error) == (3, "no-such-program: no such command")
    (tmp_path / "recipe.py").write_text("")
    done = run_cli(["exec", "--", tmp_path / "recipe.py"], stocked)
    assert done.code == 2
    assert "python" in done.hint


def test_ctrl_c_is_the_commands(stocked):
    code = "import time; print('up', flush=True); time.sleep(60)"
    process = subprocess.Popen(
        command("exec", "--", sys.executable, "-c", code),
        env=clean_environment(stocked), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "KeyboardInterrupt" in stderr
    assert not list((stocked / "store" / ".xttsreg").glob("exec-*"))


def test_what_a_killed_run_left_goes_with_the_next(stocked):
    code = "import time; print('up', flush=True); time.sleep(60)"
    process = subprocess.Popen(
        command("exec", "--", sys.executable, "-c", code),
        env=clean_environment(stocked), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    state = stocked / "store" / ".xttsreg"
    assert len(list(state.glob("exec-*"))) == 1
    assert run_cli(["exec", "--", "true"], stocked).code == 0
    assert len(list(state.glob("exec-*"))) == 1  # it still runs
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=10)
    process.stdout.close()
    deadline = time.monotonic() + 10
    while list(state.glob("exec-*")) and time.monotonic() < deadline:
        assert run_cli(["exec", "--", "true"], stocked).code == 0
    assert not list(state.glob("exec-*"))


# --- which set -----------------------------------------------------------------------------


def test_without_a_set(home):
    LayoutStore.create(home / "store")
    done = run_cli(["exec", "--", "true"], home)
    assert done.code == 3
    assert "xttsreg fetch xtts_v2" in done.hint


def test_the_only_trainable_set_is_taken(stocked, weights, tmp_path):
    store = LayoutStore(stocked / "store")
    store.tag("own:again", store.tags()["own:v1"])  # another name is not another set
    spoken = make_small_set(tmp_path / "voice", seed=2)
    (spoken / "dvae.pth").unlink()
    add(store, Reference.parse("voice:v1"), spoken, Catalog([]), ask=never_ask)
    done = run_cli(["exec", "--", "true"], stocked)
    assert done.code == 0
    assert "weights: own:" in done.stderr


def test_several_sets_are_listed(stocked, tmp_path):
    store = LayoutStore(stocked / "store")
    other = make_small_set(tmp_path / "other", seed=2)
    (other / "config.json").write_text("{}")
    add(store, Reference.parse("other:v1"), other, Catalog([]), ask=never_ask)
    done = run_cli(["exec", "--", "true"], stocked)
    assert done.code == 2
    assert "other:v1, own:v1" in done.error
    assert "--model other:v1" in done.hint
    assert run_cli(["exec", "--model", "own:v1", "--", "true"], stocked).code == 0


def test_terms_are_accepted_before_the_command_starts(home, weights, tmp_path):
    (weights / "config.json").write_text("{}")
    directory = catalog_for(tmp_path / "catalog", weights, required=True)
    store = LayoutStore.create(home / "store")
    catalog = Catalog([pinned(directory)])
    entry = add(store, Reference.parse("small"), weights, catalog, ask=say_yes).manifest
    for found, _ in store.referrers(entry.digest):
        store.release(found.digest)
    mark = tmp_path / "started"
    arguments = ["exec", "--catalog", directory]
    done = run_cli([*arguments, "--", "touch", mark], home)
    assert done.code == 2
    assert "have not been accepted" in done.error
    assert not mark.exists()
    assert run_cli([*arguments, "--accept-license", "--", "touch", mark], home).code == 0
    assert mark.exists()
    assert run_cli([*arguments, "--", "true"], home).code == 0  # recorded


# --- in the processes below ------------------------------------------------------------------

LEAVE = "import urllib.request; urllib.request.urlopen('http://example.org/x')"


@pytest.mark.parametrize(
    "code",
    [
        LEAVE,
        f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {LEAVE!r}]))",
        f"import os, sys\nif os.fork() == 0:\n exec({LEAVE!r})\nsys.exit(os.wait()[1] >> 8)",
    ],
    ids=["itself", "subprocess", "fork"],
)
def test_no_process_reaches_the_network(code, stocked):
    done = run_python(stocked, code)
    assert done.code == 7
    assert "tried to reach example.org" in done.error


def test_a_violation_that_the_program_survives_is_told(stocked):
    done = run_python(stocked, f"try:\n {LEAVE}\nexcept Exception: pass")
    assert done.code == 0
    assert "refused, and gone on without:" in done.stderr
    assert "example.org" in done.stderr


def test_another_sitecustomize_still_runs(stocked, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("MARK = 5\n")
    code = "import socket, sitecustomize; print(sitecustomize.MARK); socket.getaddrinfo('a.b', 1)"
    path = f"{tmp_path}:{Path(__file__).parents[2]}"
    done = run_python(stocked, code, PYTHONPATH=path)
    assert done.stdout == "5\n"
    assert done.code == 7


def test_a_python_without_xttsreg_has_the_shim_too(stocked, tmp_path):
    """And gets nothing else of the place where xttsreg lies."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    code = """
import importlib.util, xttsreg
print(importlib.util.find_spec("pydantic"), importlib.util.find_spec("support"))
import socket; socket.getaddrinfo("a.b", 1)"""
    arguments = ["exec", "--", tmp_path / "bare/bin/python"]
    done = run_cli([*arguments, "-c", code], stocked)
    assert done.stdout == "None None\n"
    assert done.code == 7


def test_a_python_that_is_not_reached_is_told(stocked):
    done = run_cli(["exec", "--", sys.executable, "-I", "-c", "pass"], stocked)
    assert done.code == 0
    assert "started no Python that reads PYTHONPATH" in done.stderr


# --- addresses -------------------------------------------------------------------------------


@pytest.fixture
def plan(tmp_path: Path, weights: Path) -> Plan:
    names = {path.name: "" for path in weights.iterdir()}
    return Plan(model="own:v1", revision="a" * 40, view=weights, state=tmp_path, files=names)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://coqui.gateway.scarf.sh/hf-coqui/XTTS-v2/main/model.pth", "model.pth"),
        ("https://coqui.gateway.scarf.sh/hf-coqui/XTTS-v2/v2.0.2/vocab.json", "vocab.json"),
        ("https://huggingface.co/coqui/XTTS-v2/resolve/main/dvae.pth?download=true", "dvae.pth"),
        ("http://mirror.local/coqui/XTTS-v2/resolve/v2.0.3/config.json", "config.json"),
        ("https://huggingface.co/coqui/XTTS-v2/resolve/refs%2Fpr%2F1/hash.md5", None),
        ("https://coqui.gateway.scarf.sh/v0.14.0_models/mel_norms.pth", "mel_stats.pth"),
        ("https://coqui.gateway.scarf.sh/hf-coqui/XTTS-v1/main/model.pth", None),
        ("https://huggingface.co/coqui/XTTS-v2/resolve/main/../../x/model.pth", None),
        ("https://huggingface.co/coqui/XTTS-v2/resolve/main/..%2Fmodel.pth", None),
        ("https://huggingface.co/coqui/XTTS-v2/resolve/main/", None),
    ],
)
def test_addresses(url, name, plan):
    if name is None:
        with pytest.raises(NotFoundError, match="XTTS"):
            shim.name_for(plan, url)
    else:
        assert shim.name_for(plan, url) == name


def test_a_file_that_is_right_already_is_left(plan, weights, tmp_path):
    import hashlib

    digest = hashlib.sha256((weights / "vocab.json").read_bytes()).hexdigest()
    exact = Plan(model="m", revision="", view=weights, state=tmp_path, files={"vocab.json": digest})
    folder = tmp_path / "folder"
    shim.place(exact, "vocab.json", folder)
    first = (folder / "vocab.json").stat()
    shim.place(exact, "vocab.json", folder)
    assert (folder / "vocab.json").stat() == first
    assert [path.name for path in folder.iterdir()] == ["vocab.json"]
    assert not exact.links.exists()  # small: a copy, which stays


def test_a_link_of_a_killed_run_is_replaced(tmp_path):
    here = Plan(model="m", revision="", view=tmp_path / "now/view", state=tmp_path / "now",
                files={"vocab.json": ""})  # fmt: skip
    here.view.mkdir(parents=True)
    (here.view / "vocab.json").write_text("{}")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "vocab.json").symlink_to(tmp_path / "before/view/vocab.json")
    shim.place(here, "vocab.json", folder)
    assert [path.name for path in folder.iterdir()] == ["vocab.json"]
    assert (folder / "vocab.json").read_text() == "{}"
