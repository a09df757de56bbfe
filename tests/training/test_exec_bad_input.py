"""What a recipe below ``xttsreg exec`` is stopped for, each before the first step."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import never_ask

from xttsreg.catalog import Catalog
from xttsreg.content.reference import Reference
from xttsreg.errors import InvalidDataset
from xttsreg.ops.add import add
from xttsreg.stores.layout import LayoutStore
from xttsreg.training.shim.samples import check_samples, drop_mute_sentences

from .test_exec import RECIPE, python, run_exec

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("tts")]

# One process imports TTS and builds the model, and forks for each case, which tells what became of
# it as JSON, by line.
DRIVER = f"""
import json, os, resource, sys
sys.path.append({str(RECIPE.parent)!r})
import recipe_xtts
from xttsreg.training.shim import notes
from xttsreg.training.shim.plan import load_plan

def starve():
    step = recipe_xtts.gpt_trainer.GPTTrainer.train_step
    def starving(self, *args, **kwargs):
        taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + 1_000_000, taken + 1_000_000))
        return step(self, *args, **kwargs)
    recipe_xtts.gpt_trainer.GPTTrainer.train_step = starving

cases = json.load(open(sys.argv[1]))
folder = recipe_xtts.Path(cases[0]["env"]["FOLDER"])
recipe_xtts.bring(folder / "my weights")
model = recipe_xtts.gpt_trainer.GPTTrainer.init_from_config(
    recipe_xtts.configure(folder / "my weights", folder / "my runs"))
recipe_xtts.gpt_trainer.GPTTrainer.init_from_config = lambda config: model
for case in cases:
    before = len(notes.read(load_plan()))
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        stdout, code = os.dup(1), 0
        os.dup2(2, 1)
        os.environ.update(case["env"])
        sys.argv[1:] = case["argv"]
        try:
            if case["starve"]:
                starve()
            recipe_xtts.main()
        except BaseException as error:
            code = 1
            sys.excepthook(*sys.exc_info())
        finally:
            found = notes.read(load_plan())[before:]
            told = [[note.exit_code, note.message, note.hint] for note in found]
            os.write(stdout, (json.dumps([case["name"], code, told]) + "\\n").encode())
            os._exit(code)
    os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def home(scratch: Path, tiny: Path) -> Path:
    place = scratch / "bad" / "home"
    store = LayoutStore.create(place / "store")
    add(store, Reference.parse("own:v1"), tiny, Catalog([]), ask=never_ask)
    return place


def half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def spoiled(clips: Path, folder: Path) -> Path:
    shutil.copytree(clips, folder)
    return folder


@pytest.fixture(scope="module")
def told(home, clips, tiny, scratch):
    """Every case by name: exit code of its process, and what was noted."""
    place = home.parent
    data = {name: spoiled(clips, place / name) for name in ("cut", "mark", "columns", "missing")}
    half(data["cut"] / "wavs" / "clip_0002.wav")
    (data["missing"] / "wavs" / "clip_0002.wav").unlink()
    text = (clips / "metadata.csv").read_text("utf-8")
    (data["mark"] / "metadata.csv").write_text("\ufeff" + text, "utf-8")
    (data["columns"] / "metadata.csv").write_text(text + "clip_0001|two\n", "utf-8")

    def case(name, *argv, dataset=clips, starve=False):
        env = {"DATASET": str(dataset), "FOLDER": str(place / "runs")}
        return {"name": name, "argv": list(map(str, argv)), "env": env, "starve": starve}

    cases = [case(name, dataset=folder) for name, folder in data.items()]
    cases += [
        case("restore a folder", "--restore_path", clips),
        case("restore nothing", "--restore_path=/nowhere/x.pth"),
        case("restore a dvae", f"--restore_path={tiny}/dvae.pth"),
        case("restore the hub's", "--restore_path",
             "https://huggingface.co/coqui/XTTS-v2/resolve/main/model.pth"),
        case("continue no run", "--continue_path", tiny),
        case("no memory", starve=True),
    ]  # fmt: skip
    (place / "cases.json").write_text(json.dumps(cases))
    (place / "driver.py").write_text(DRIVER)
    done = run_exec(home, *python(place / "driver.py", place / "cases.json"))
    lines = [line for line in done.stdout.splitlines() if line.startswith('["')]
    found = {name: (code, notes) for name, code, notes in map(json.loads, lines)}
    assert set(found) == {case["name"] for case in cases}, done.stderr
    return done, found


@pytest.mark.parametrize(
    ("name", "exit_code", "message", "hint"),
    [
        ("cut", 2, "clip_0002.wav: the clip is cut off", "mend them, or remove their lines"),
        ("missing", 2, "1 of 5 clips are missing, first", "remove their lines"),
        ("mark", 2, "<byte order mark>clip_0001.wav", "without one"),
        ("columns", 2, "line 7: 2 columns", "third column"),
        ("restore a folder", 2, "restore_path: .* is a folder", "continue_path"),
        ("restore nothing", 2, "restore_path: no file at /nowhere", "xtts_checkpoint"),
        ("restore a dvae", 2, "its kind is dvae", "xtts_checkpoint"),
        ("restore the hub's", 2, "is an inference checkpoint", "xtts_checkpoint"),
        ("continue no run", 2, "is no folder of a run", "best_model.pth"),
        ("no memory", 1, "memory ran out: .*allocate memory", "halve batch_size and double grad"),
    ],
)
def test_the_cause_is_named(told, name, exit_code, message, hint):
    _, found = told
    code, notes = found[name]
    assert code == 1
    assert notes[0][0] == exit_code
    assert re.search(message, notes[0][1]), notes
    assert hint in notes[0][2]


def test_no_run_was_begun(told, home):
    """Only the one that ran out of memory ever had a folder, and the trainer removed that."""
    assert not list((home.parent / "runs" / "my runs").glob("own-*"))
    assert told[0].code == 2  # of the first refusal


def test_sentences_that_cannot_be_spoken_are_left_out(clips, capsys):
    good = {"text": "Hi.", "speaker_wav": [str(clips / "reference.wav")], "language": "en"}
    bad = [
        {**good, "speaker_wav": "./away.wav"},
        {**good, "speaker_wav": None},
        {**good, "speaker_wav": []},
        {**good, "speaker_wav": str(clips / "metadata.csv")},
        {**good, "language": "xx"},
        {"text": "Hi."},
        "Hi.",
    ]
    config = SimpleNamespace(test_sentences=[*bad, good], languages=["en"])
    drop_mute_sentences(config)
    assert config.test_sentences == [good]
    assert capsys.readouterr().err.count("a test sentence is left out, it") == len(bad)


def test_nothing_to_evaluate_on_and_too_long_for_the_model(clips, tiny):
    from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer

    sizes = {"gpt_max_audio_tokens": 605, "gpt_code_stride_len": 1024}
    args = SimpleNamespace(max_text_length=200, max_wav_length=255995, **sizes)
    config = SimpleNamespace(model_args=args, run_eval=True)
    tokenizer = VoiceBpeTokenizer(str(tiny / "vocab.json"))

    def check(train, evaluation):
        check_samples(config, tokenizer, train, evaluation, told=True)

    clip = {"audio_file": str(clips / "wavs/clip_0001.wav"), "text": "A text.", "language": "en"}
    mute = {**clip, "text": " "}
    check([clip], [clip])
    with pytest.raises(InvalidDataset, match="not one of 1 clips can be evaluated on .1 without"):
        check([clip], [mute])
    with pytest.raises(InvalidDataset, match="not one of 0 clips can be evaluated on"):
        check([clip], None)
    with pytest.raises(InvalidDataset, match="not one of 2 clips can be trained on"):
        check([mute, {**clip, "text": "\u4f60"}], [clip])
    args.gpt_max_audio_tokens = 23
    with pytest.raises(InvalidDataset, match="clip_0001.wav: longer than 0.9 s, and the model"):
        check([clip], [clip])
