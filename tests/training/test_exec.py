"""``xttsreg exec`` with the real TTS, in processes of their own and without a network."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import Ran, clean_environment, command, never_ask, tree

from xttsreg.catalog import Catalog
from xttsreg.content.reference import Reference
from xttsreg.ops.add import add
from xttsreg.stores.layout import LayoutStore

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("tts")]

RECIPE = Path(__file__).with_name("recipe_xtts.py")
GATEWAY = "https://coqui.gateway.scarf.sh"
DOWNLOAD = """
import sys
from TTS.utils.manage import ModelManager
ModelManager._download_model_files(sys.argv[2:], sys.argv[1], True)
"""


@functools.cache
def without_network() -> list[str]:
    """What runs a command in an empty network namespace, where that is permitted."""
    for prefix in (["unshare", "-n"], ["unshare", "-Urn"]):
        try:
            if subprocess.run([*prefix, "true"], capture_output=True).returncode == 0:
                return prefix
        except OSError:
            break
    return []


def run_exec(home: Path, *args: object, prefix: list[str] | None = None, **env: str) -> Ran:
    """``xttsreg exec ARGS``; Python programs are the tests' own Python."""
    before = without_network() if prefix is None else prefix
    place = home.parent
    private = {"XDG_DATA_HOME": str(place / "data"), "TTS_HOME": str(place / "data")}
    done = subprocess.run(
        [*before, *command("exec", *args)],
        env=clean_environment(home, CUDA_VISIBLE_DEVICES="", **private, **env),
        cwd=place,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def python(*args: object) -> list[object]:
    return ["--", sys.executable, *args]


def run_recipe(home: Path, clips: Path, folder: Path, *args: object, **env: str) -> Ran:
    return run_exec(home, *python(RECIPE, *args), DATASET=str(clips), FOLDER=str(folder), **env)


@pytest.fixture(scope="module")
def home(scratch: Path, tiny: Path) -> Path:
    """A home whose store has the tiny set, and nothing else."""
    place = scratch / "exec" / "home"
    store = LayoutStore.create(place / "store")
    add(store, Reference.parse("own:v1"), tiny, Catalog([]), ask=never_ask)
    return place


@pytest.fixture(scope="module")
def blobs(home: Path) -> dict[str, str]:
    return tree(home / "store")


@pytest.fixture(scope="module")
def ran(home: Path, blobs: dict[str, str], clips: Path) -> tuple[Path, Ran]:
    """The own recipe, run once; and its folder."""
    folder = home.parent / "own"
    return folder, run_recipe(home, clips, folder)


def runs(folder: Path) -> list[Path]:
    return sorted((folder / "my runs").glob("own-*"))


def test_own_recipe_trains_offline(ran):
    folder, done = ran
    assert done.code == 0, done.stderr
    assert (runs(folder)[0] / "best_model.pth").is_file()
    assert "weights: own:v1, checked, by " in done.stderr
    assert "asks for v2.0.2; it gets the file of own:v1" in done.stderr
    assert "test sentence is left out, its speaker ./away.wav is missing" in done.stderr


def test_proof_is_shown_and_kept(ran):
    folder, done = ran
    proof = json.loads((runs(folder)[0] / "proof.json").read_text())
    assert (proof["restored"], proof["total"]) == (687, 687)
    lines = [line.split() for line in done.stderr.splitlines()]
    assert ["total", "687", "/", "687"] in lines
    assert ["gpt", "90", "/", "90"] in lines


def test_nothing_is_left_but_small_files(ran, home, blobs):
    folder, _ = ran
    left = {path.name for path in (folder / "my weights").iterdir()}
    assert left == {"mel_stats.pth", "vocab.json"}
    assert tree(home / "store") == blobs
    assert list((home / "store" / ".xttsreg").glob("exec-*")) == []


def test_a_run_goes_on_with_continue_path(ran, home, clips):
    """From the checkpoint before the one that was half written when the machine went down."""
    folder, _ = ran
    run = runs(folder)[0]
    before = {path.name for path in run.glob("best_model_*.pth")}
    whole = (run / "best_model.pth").read_bytes()
    (run / "checkpoint_99.pth").write_bytes(whole[: len(whole) // 2])
    done = run_recipe(home, clips, folder, "--continue_path", run)
    assert done.code == 0, done.stderr
    assert "checkpoint_99.pth is left out: " in done.stderr
    assert f"the run goes on from {before.copy().pop()}" in done.stderr
    assert "Model restored from step 3" in done.stderr
    assert {path.name for path in run.glob("best_model_*.pth")} != before
    assert len(runs(folder)) == 1


def test_ranks_inherit_the_shim_and_their_refusal_counts(home, tiny, clips, tmp_path):
    """trainer.distribute ends with 0 whatever becomes of its processes."""
    launch = ["-m", "trainer.distribute", "--script", RECIPE, "--gpus", "0"]
    given = [*launch, "--restore_path", tiny / "model.pth"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    where = {"DATASET": str(clips), "FOLDER": str(tmp_path), "PATH": path}
    done = run_exec(home, *python(*given), **where)
    assert done.code == 2, done.stderr
    assert "is an inference checkpoint" in done.error
    assert "0 / N layers are restored" in done.error
    assert "xtts_checkpoint" in done.hint


def test_what_would_train_noise_is_stopped(home, tiny, clips, tmp_path):
    """Even if the program catches the error: a model file to restore, wrong names, no base."""
    import torch

    from xttsreg.training.checkpoint import load_model_state

    original = load_model_state(tiny / "model.pth")
    state = {name.replace("gpt.", "net.gpt."): value for name, value in original.items()}
    torch.save({"model": state}, tmp_path / "renamed.pth")
    code = f"""
import os, sys
sys.path.append({str(RECIPE.parent)!r})
import recipe_xtts
for name, value in (("BASE", sys.argv[1]), ("RESTORE", sys.argv[2]), ("BASE", "")):
    os.environ[name] = value
    try:
        recipe_xtts.main()
    except Exception as error:
        print(type(error).__name__, error)
    del os.environ[name]
"""
    (tmp_path / "run.py").write_text(code)
    where = {"DATASET": str(clips), "FOLDER": str(tmp_path)}
    files = [tmp_path / "renamed.pth", tiny / "model.pth"]
    done = run_exec(home, *python(tmp_path / "run.py", *files), **where)
    assert done.code == 4
    assert "597 / 687 layers are restored" in done.error
    assert "renamed.pth is the recipe's own" in done.stderr
    kinds = ("RestoreIncomplete ", "InvalidModel ")
    told = [line for line in done.stdout.splitlines() if line.startswith(kinds)]
    renamed, restore, empty = told
    assert "597 / 687" in renamed
    assert "model.pth is an inference checkpoint" in restore
    assert "xtts_checkpoint=...) is empty" in empty
    assert not (tmp_path / "ready to train").exists()
    assert not list(tmp_path.glob("my runs/*"))


def test_the_demos_gpt_train(home, clips, tmp_path):
    pytest.importorskip("TTS.demos.xtts_ft_demo.utils.gpt_train")
    data = tmp_path / "data"
    shutil.copytree(clips, data)
    rows = [line.split("|") for line in (data / "metadata.csv").read_text().splitlines()]
    for name, chosen in (("train", rows), ("eval", rows[:2])):
        lines = [f"{data}/wavs/{row[0]}.wav|{row[1]}|coqui" for row in chosen]
        content = "\n".join(["audio_file|text|speaker_name", *lines])
        (data / f"{name}.csv").write_text(content + "\n")
    code = (
        "import sys; from TTS.demos.xtts_ft_demo.utils.gpt_train import train_gpt\n"
        "if __name__ == '__main__': print(train_gpt('en', 1, 2, 1, *sys.argv[1:])[3])"
    )
    (tmp_path / "demo.py").write_text(code)
    files = [data / "train.csv", data / "eval.csv", tmp_path / "out"]
    done = run_exec(home, *python(tmp_path / "demo.py", *files))
    assert done.code == 0, done.stderr
    run = Path(done.stdout.splitlines()[-1])
    assert (run / "best_model.pth").is_file()
    assert (run / "proof.json").is_file()


@pytest.fixture
def stock_recipe() -> str:
    """The text of the stock recipe: no wheel and no source archive of TTS 0.22.0 has it."""
    given = os.environ.get("XTTSREG_STOCK_RECIPE")
    if not given:
        pytest.skip(
            "XTTSREG_STOCK_RECIPE does not name recipes/ljspeech/xtts_v2/train_gpt_xtts.py of a "
            "checkout of TTS 0.22.0"
        )
    return Path(given).read_text(encoding="utf-8")


def test_the_stock_recipe(stock_recipe, home, clips, tmp_path):
    many = tmp_path / "many"  # its share for evaluation wants a hundred clips
    (many / "wavs").mkdir(parents=True)
    rows = [line.partition("|") for line in (clips / "metadata.csv").read_text().splitlines()]
    lines = []
    for number in range(104):
        name, _, text = rows[number % len(rows)]
        os.link(clips / "wavs" / f"{name}.wav", many / "wavs" / f"c{number}.wav")
        lines.append(f"c{number}|{text}\n")
    (many / "metadata.csv").write_text("".join(lines))
    text = stock_recipe.replace("/raid/datasets/LJSpeech-1.1_24khz", str(many))
    assert text != stock_recipe
    (tmp_path / "train_gpt_xtts.py").write_text(text)
    counts = ["--coqpit.epochs", "2", "--small_run", "9"]
    done = run_exec(home, *python(tmp_path / "train_gpt_xtts.py", *counts))
    assert done.code == 0, done.stderr
    assert "EPOCH: 1/2" in done.stderr
    assert "TRAINING" in done.stderr
    assert list(tmp_path.glob("run/training/GPT_XTTS*/best_model.pth"))
    assert list(tmp_path.glob("run/training/GPT_XTTS*/proof.json"))


def test_plain_inference(home, clips, tmp_path):
    code = """
import sys
from TTS.api import TTS
name = "tts_models/multilingual/multi-dataset/xtts_v2"
tts = TTS(name, progress_bar=False)
tts.manager.download_model(name)  # finds a cache whose hash.md5 is another set's
tts.tts_to_file("Hi.", speaker_wav=sys.argv[1], language="en", file_path=sys.argv[2])
"""
    done = run_exec(home, *python("-c", code, clips / "reference.wav", tmp_path / "out.wav"))
    assert done.code == 0, done.stderr
    assert (tmp_path / "out.wav").stat().st_size > 1000
    assert not (home.parent / "data" / "tts").exists()  # the user's own cache is left alone


def test_the_hubs_own_client(home, tiny, tmp_path):
    code = """
import sys
from huggingface_hub import hf_hub_download, snapshot_download
print(hf_hub_download("coqui/XTTS-v2", "vocab.json", revision="v2.0.3", local_dir=sys.argv[1]))
print(open(hf_hub_download(repo_id="coqui/XTTS-v2", filename="hash.md5")).read())
print(snapshot_download("coqui/XTTS-v2"))
hf_hub_download("someone/else", "vocab.json")
"""
    done = run_exec(home, *python("-c", code, tmp_path))
    placed, token, view = done.stdout.splitlines()
    assert Path(placed).read_bytes() == (tiny / "vocab.json").read_bytes()
    assert token == (tiny / "hash.md5").read_text()
    assert Path(view).name == "view"
    assert done.code == 1
    assert "LocalEntryNotFoundError" in done.stderr or "OfflineModeIsEnabled" in done.stderr


def test_what_the_store_cannot_answer(home, tmp_path):
    code = """
import os, sys
from pathlib import Path
import TTS
from trainer.io import load_fsspec
from TTS.utils.manage import ModelManager
base, folder = sys.argv[1:]
def try_out(work, *args):
    try:
        work(*args)
    except Exception as error:
        print(error, "|", error.hint)
def bring(url):
    ModelManager._download_model_files([base + "XTTS-v2/main/vocab.json", url], folder, True)
try_out(bring, base + "XTTS-v2/main/other.pth")
try_out(bring, "s3://somewhere/model.pth")
try_out(load_fsspec, "/nowhere/modle.pth")
manager = ModelManager(models_file=Path(TTS.__file__).parent / ".models.json")
try_out(manager.download_model, "tts_models/en/ljspeech/vits")
bring(base + "XTTS-v1/v1.1.2/model.pth")
"""
    base = f"{GATEWAY}/hf-coqui/"
    done = run_exec(home, *python("-c", code, base, tmp_path))
    assert done.code == 3
    assert f"{base}XTTS-v1/v1.1.2/model.pth: this is no file of XTTS_v2" in done.error
    assert "xttsreg fetch xtts_v2" in done.hint
    other, foreign, typo, vits = done.stdout.splitlines()[-4:]
    assert "/other.pth: own:v1 has no other.pth" in other
    assert "xttsreg fetch xtts_v2" in other
    assert foreign.startswith("s3://somewhere/model.pth: this is no file of XTTS_v2")
    assert typo.startswith("/nowhere/modle.pth: no such file")
    assert "vits.zip: this is no file of XTTS_v2" in vits
    assert list(tmp_path.iterdir()) == []  # both of a pair, or none
    assert not list((home.parent / "data").glob("tts/*vits*"))  # would pass for a download


WRITER = (
    DOWNLOAD
    + """
import shutil
from pathlib import Path
try:
    Path(sys.argv[1], "dvae.pth").open("wb").close()
    print("written")
except OSError as error:
    print(error.strerror)
shutil.rmtree(sys.argv[1])
"""
)
NO_MOUNTS = ["unshare", "-Ur", "sh", "-c",
             'echo 0 > /proc/sys/user/max_mnt_namespaces; exec "$@"', "sh"]  # fmt: skip
NO_ROOT_MOUNTS = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"]


@pytest.mark.parametrize("prefix", [None, NO_MOUNTS, NO_ROOT_MOUNTS], ids=["any", "none", "user"])
def test_writing_hits_the_view_only(prefix, home, blobs, tmp_path):
    try:
        if prefix and subprocess.run([*prefix, "true"], capture_output=True).returncode:
            pytest.skip("namespaces are not permitted here")
    except OSError:
        pytest.skip("no unshare or setpriv here")
    url = f"{GATEWAY}/hf-coqui/XTTS-v2/main/dvae.pth"
    done = run_exec(home, *python("-c", WRITER, tmp_path / "x", url), prefix=prefix)
    assert done.code == 0, done.stderr
    mounted = "read-only mount" in done.stderr
    assert ("Read-only file system" if mounted else "written") in done.stdout
    assert tree(home / "store") == blobs
    if prefix == NO_MOUNTS:
        assert "by reflink" in done.stderr or "by copy" in done.stderr


def test_a_file_of_that_name_is_moved_aside(home, tmp_path):
    (tmp_path / "vocab.json").write_text("mine")
    url = f"{GATEWAY}/hf-coqui/XTTS-v2/main/vocab.json"
    done = run_exec(home, *python("-c", DOWNLOAD, tmp_path, url))
    assert done.code == 0, done.stderr
    assert (tmp_path / "vocab.json.replaced").read_text() == "mine"
    assert json.loads((tmp_path / "vocab.json").read_text())["model"]["type"] == "BPE"


def test_a_pickle_that_runs_code_is_not_loaded(home, tmp_path):
    code = """
import io, os, sys, torch
class Evil:
    def __reduce__(self):
        return os.mkdir, (sys.argv[1] + ".owned",)
torch.save({"model": Evil()}, sys.argv[1])
data = open(sys.argv[1], "rb").read()
try:
    torch.load(io.BytesIO(data), weights_only=False)
except Exception as error:
    print(error)
torch.load(sys.argv[1], weights_only=False)
"""
    done = run_exec(home, *python("-c", code, tmp_path / "x.pth"))
    assert done.code == 4
    assert "x.pth: its pickle asks for posix.mkdir" in done.error
    assert "asks for posix.mkdir" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["x.pth"]
