"""Checkpoints told apart without torch, and hostile ones that stay harmless."""

from __future__ import annotations

import io
import math
import pickle
import random
import struct
import time
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xttsreg.content.checkpoint import ALLOWED_GLOBALS, CheckpointSummary, summarize
from xttsreg.content.pickles import Call, Pairs, PickleError, Reader

# --- a small assembler of pickles, so that no torch is needed to make checkpoints --------------


def glob(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def tup(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def mapping(entries: Mapping[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(k) + v for k, v in entries.items()) + b"u"


def ordered(entries: Mapping[str, bytes]) -> bytes:
    return glob("collections", "OrderedDict") + b")R(" + mapping(entries)[2:]


def tensor(*shape: int, key: str = "0", kind: str = "FloatStorage") -> bytes:
    count = math.prod(shape)
    storage = tup(text("storage"), glob("torch", kind), text(key), text("cpu"), number(count))
    sizes = tup(*map(number, shape))
    hooks = glob("collections", "OrderedDict") + b")R"
    rest = tup(storage + b"Q", number(0), sizes, sizes, b"\x89", hooks)
    return glob("torch._utils", "_rebuild_tensor_v2") + rest + b"R"


def save(path: Path, body: bytes, *, storages: Mapping[str, int] | None = None) -> Path:
    """A zip checkpoint; one storage of 4 KiB unless told otherwise."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + body + b".")
        for key, size in (storages if storages is not None else {"0": 4096}).items():
            archive.writestr(f"archive/data/{key}", bytes(size))
    return path


GPT = {
    "gpt.text_embedding.weight": tensor(30, 4),
    "gpt.mel_head.bias": tensor(8, kind="HalfStorage"),
    "hifigan_decoder.waveform_decoder.conv_pre.bias": tensor(2),
    "hifigan_decoder.speaker_encoder.fc.bias": tensor(3),
    "mel_stats": tensor(80),
}
DVAE = {
    "encoder.0.0.weight": tensor(2, 2, 3),
    "decoder.0.weight": tensor(2, 2, 1),
    "codebook.embed": tensor(4, 4),
}
CONFIG = glob("TTS.tts.configs.xtts_config", "XttsConfig") + b")\x81" + mapping({}) + b"b"


def inference(path: Path) -> Path:
    return save(path, mapping({"model": ordered(GPT), "config": CONFIG}))


# --- kinds ---------------------------------------------------------------------------------------


def test_inference(tmp_path: Path) -> None:
    file = inference(tmp_path / "model.pth")
    got = summarize(file)
    assert (got.kind, got.container, got.problem) == ("inference", "zip", None)
    assert got.parts == {
        "gpt": 2,
        "hifigan_decoder": 1,
        "speaker_encoder": 1,
        "mel_stats": 1,
    }
    assert got.text_tokens == 30
    assert got.tensors["gpt.text_embedding.weight"].shape == (30, 4)
    assert got.tensors["gpt.mel_head.bias"].dtype == "float16"
    assert got.top_keys == ("model", "config")
    assert got.size_bytes == file.stat().st_size
    assert (got.step, got.epoch) == (None, None)
    assert got.is_safe
    assert "TTS.tts.configs.xtts_config.XttsConfig" in got.globals <= ALLOWED_GLOBALS


def test_trainer(tmp_path: Path) -> None:
    model = {f"xtts.{name}": value for name, value in GPT.items()}
    model |= {f"dvae.{name}": value for name, value in DVAE.items()}
    model["torch_mel_spectrogram_dvae.mel_norms"] = tensor(80)
    top = {"config": mapping({}), "model": ordered(model), "optimizer": mapping({})}
    top |= {"scaler": b"N", "step": number(7), "epoch": number(2), "date": text("today")}
    got = summarize(save(tmp_path / "best_model.pth", mapping(top)))
    assert (got.kind, got.step, got.epoch, got.text_tokens) == ("trainer", 7, 2, 30)
    assert got.parts["gpt"] == 2
    assert got.parts["dvae"] == 3
    assert got.parts["mel_spectrogram"] == 1
    assert got.is_safe


@pytest.mark.parametrize(
    ("body", "kind", "part"),
    [
        (ordered(DVAE), "dvae", "dvae"),
        (tensor(80), "mel_stats", "mel_stats"),
        (
            mapping(
                {
                    "Ana": mapping(
                        {"gpt_cond_latent": tensor(1, 2), "speaker_embedding": tensor(1, 3)}
                    )
                }
            ),
            "speakers",
            "speakers",
        ),
        (tensor(4, 4), "unknown", "other"),
        (mapping({"lora_A": tensor(2)}), "unknown", "other"),
    ],
)
def test_other_kinds(tmp_path: Path, body: bytes, kind: str, part: str) -> None:
    got = summarize(save(tmp_path / "file.pth", body))
    assert got.kind == kind
    assert set(got.parts) == {part}


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (mapping({"model": ordered(DVAE)}), "nested"),
        (mapping({"model": mapping({"x." + k: v for k, v in GPT.items()})}), "without one key"),
        (mapping(GPT), "bare state dict"),
        (mapping({"base.gpt.h.0.lora_A.weight": tensor(2)}), "an adapter (LoRA)"),
        (mapping({"xtts." + k: v for k, v in GPT.items()}), "bare state dict"),
    ],
)
def test_near_misses_are_explained(tmp_path: Path, body: bytes, problem: str) -> None:
    got = summarize(save(tmp_path / "file.pth", body))
    assert got.kind == "unknown"
    assert problem in (got.problem or "")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\n <html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "LFS pointer"),
        (b"PK\x03\x04" + bytes(100), "cut off"),
        (b'{"json": 1}', "a JSON file"),
        (b"\x0b" + bytes(7) + b'{"x": null}', "a safetensors file"),
        (bytes(100), "neither"),
        (pickle.dumps({"a": 1}), "not one of torch"),
    ],
)
def test_not_a_checkpoint(tmp_path: Path, data: bytes, problem: str) -> None:
    file = tmp_path / "file.pth"
    file.write_bytes(data)
    got = summarize(file)
    assert got.kind == "not_a_checkpoint"
    assert problem in (got.problem or "")
    assert not got.is_safe


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    whole = inference(tmp_path / "model.pth").read_bytes()
    for length in range(0, len(whole) - 1, 97):
        (tmp_path / "cut.pth").write_bytes(whole[:length])
        assert summarize(tmp_path / "cut.pth").kind == "not_a_checkpoint"


def test_storages_are_counted(tmp_path: Path) -> None:
    short = summarize(save(tmp_path / "a.pth", tensor(80), storages={"0": 319}))
    absent = summarize(save(tmp_path / "b.pth", tensor(80), storages={}))
    assert "too short" in (short.problem or "")
    assert "absent" in (absent.problem or "")
    assert summarize(save(tmp_path / "c.pth", tensor(80), storages={"0": 320})).problem is None


def test_an_old_file_that_is_cut_off(tmp_path: Path) -> None:
    info = b"\x80\x02" + mapping({}) + b"."
    head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + info
    file = tmp_path / "old.pth"
    file.write_bytes(
        head + b"\x80\x02" + tensor(80) + b"." + pickle.dumps(["0"], 2) + bytes(8 + 320)
    )
    got = summarize(file)
    assert (got.kind, got.container, got.problem) == ("mel_stats", "legacy", None)
    file.write_bytes(file.read_bytes()[:-300])
    assert "cut off" in (summarize(file).problem or "")


def test_other_zip_archives(tmp_path: Path) -> None:
    file = tmp_path / "file.zip"
    for names in (["a.txt"], ["data.pkl"], ["a/data.pkl", "b/data.pkl"], ["a/DATA.pkl"]):
        with zipfile.ZipFile(file, "w") as archive:
            for name in names:
                archive.writestr(name, b"\x80\x02N.")
        assert summarize(file).kind == "not_a_checkpoint"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02N.")
        archive.writestr("a/constants.pkl", b"\x80\x02N.")
    assert "TorchScript" in (summarize(file).problem or "")


def test_same_name_twice(tmp_path: Path) -> None:
    """Readers disagree on which one counts: we could look at one, and torch load the other."""
    file = save(tmp_path / "file.pth", tensor(80))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("archive/Data.pkl", b"\x80\x02N.")
    assert "twice" in (summarize(file).problem or "")


def test_flipped_bit_in_the_pickle(tmp_path: Path) -> None:
    file = inference(tmp_path / "model.pth")
    data = bytearray(file.read_bytes())
    data[data.index(b"gpt.mel_head")] ^= 1
    file.write_bytes(data)
    assert summarize(file).kind == "not_a_checkpoint"


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        summarize(tmp_path / "none.pth")


# --- hostile pickles -----------------------------------------------------------------------------


class Exploit:
    """Creates a file when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, (f"open({str(self.marker)!r}, 'w').close()",))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_runs_and_all_is_named(tmp_path: Path, protocol: int, zipped: bool) -> None:
    marker = tmp_path / "ran"
    data = pickle.dumps({"model": {"gpt.x": Exploit(marker)}}, protocol)
    pickle.loads(data)
    assert marker.exists()  # so the exploit would work
    marker.unlink()
    file = tmp_path / "file.pth"
    if zipped:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("archive/data.pkl", data)
    else:
        file.write_bytes(data)
    got = summarize(file)
    assert not marker.exists()
    assert not got.is_safe
    assert {name.rpartition(".")[2] for name in got.foreign_globals} == {"exec"}


@pytest.mark.parametrize(
    ("body", "foreign"),
    [
        (b"(S'id'\nios\nsystem\n", "os.system"),  # INST
        (b"(" + glob("os", "system") + b"S'id'\no", "os.system"),  # OBJ
        (text("os") + text("system") + b"\x93" + tup(text("id")) + b"R", "os.system"),
        (text("os") + b"N\x93", "os.?"),  # a name that is no text
        (b"\x82\x01", "copyreg.extension.1"),
        (glob("builtins", "getattr") + tup(glob("os", "x"), text("y")) + b"R", "os.x"),
        (glob("torch._utils", "_rebuild_tensor_v2 x"), "torch._utils._rebuild_tensor_v2 x"),
        (glob("os", "system") + b"0N", "os.system"),  # dropped at once
        (glob("os", "system") + b"(1N", "os.system"),
        (tensor(2) + glob("os", "system") + b"b", "os.system"),  # BUILD
        (tensor(1) + b"0" + glob("os", "system") + b"\xff", "os.system"),  # then it breaks
    ],
)
def test_every_way_to_name_a_global(tmp_path: Path, body: bytes, foreign: str) -> None:
    got = summarize(save(tmp_path / "file.pth", body))
    assert foreign in got.foreign_globals
    assert not got.is_safe


BOMBS = {
    "deep tuple": b")" + b"\x85" * 900_000,
    "deep tuple as a key": b"})" + b"\x85" * 900_000 + b"Ns",
    "deep list": b"]" * 400_000 + b"a" * 399_999,
    "deep calls": b")" * 300_000 + b"R" * 299_999,
    "huge memo index": b"Nr\xff\xff\xff\xff",
    "huge text": b"\x8d" + b"\xff" * 7 + b"\x7f",
    "huge bytearray": b"\x96" + struct.pack("<Q", 1 << 40),
    "huge long": b"\x8b\xff\xff\xff\x7f",
    "long decimal": b"L" + b"9" * 5_000_000 + b"L\n",
    "laughs": b"]" + b"2(22e" * 150_000,
    "too many": b"N0" * 600_000 + b"N",
    "same hash": b"}(" + b"".join(
        b"\x8a\x0a" + ((2**61 - 1) * i).to_bytes(10, "little") + b"N" for i in range(200_000)
    ) + b"u",
    "no stack": b"0",
    "no mark": b"t",
    "append to a number": number(1) + b"Na",
    "odd items": b"}(Nu",
    "unhashable key": b"}]Ns",
    "unknown memo": b"h\x07",
    "buffer": b"\x97",
    "bad number": b"Iabc\n",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(tmp_path: Path, name: str) -> None:
    begin = time.monotonic()
    got = summarize(save(tmp_path / "file.pth", BOMBS[name]))
    assert got.kind in ("unknown", "not_a_checkpoint")
    assert time.monotonic() - begin < 20


def test_compressed_bomb(tmp_path: Path) -> None:
    file = tmp_path / "file.pth"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(65 * 1024 * 1024))
    assert file.stat().st_size < 1_000_000
    assert "too much" in (summarize(file).problem or "")


def test_strange_tensors_are_no_tensors(tmp_path: Path) -> None:
    function = glob("torch._utils", "_rebuild_tensor_v2")
    parameter = glob("torch._utils", "_rebuild_parameter")
    entries = {
        "no arguments": function + b")R",
        "no storage": function + tup(b"N", b"N", b"N", b"N") + b"R",
        "argument is no tuple": function + b"NR",
        "parameter of nothing": parameter + tup(b"N") + b"R",
        "nested": parameter + tup(parameter + tup(tensor(1)) + b"R") + b"R",
        "parameter": parameter + tup(tensor(5), b"\x88", b"N") + b"R",
    }
    got = summarize(save(tmp_path / "file.pth", mapping(entries)))
    assert list(got.tensors) == ["parameter"]
    assert got.tensors["parameter"].shape == (5,)


def test_negative_size(tmp_path: Path) -> None:
    assert summarize(save(tmp_path / "a.pth", tensor(-1))).kind == "not_a_checkpoint"


def test_random_damage_never_escapes(tmp_path: Path) -> None:
    whole = b"\x80\x02" + mapping({"model": ordered(GPT), "config": CONFIG}) + b"."
    chance = random.Random(5)
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        with zipfile.ZipFile(tmp_path / "file.pth", "w") as archive:
            archive.writestr("archive/data.pkl", bytes(data))
            archive.writestr("archive/data/0", bytes(4096))
        assert isinstance(summarize(tmp_path / "file.pth"), CheckpointSummary)


# --- the reader against pickle itself --------------------------------------------------------

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def plain(value: object) -> object:
    """What was read, as Python has it."""
    if isinstance(value, Pairs):
        return {key: plain(item) for key, item in value.pairs}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    if isinstance(value, Call):  # protocols 0 to 2 have no bytes: they call for them
        func, args = str(value.func), plain(value.args)
        assert isinstance(args, tuple)
        return args[0].encode("latin-1") if func == "_codecs.encode" else b""
    return value


@given(VALUES, st.integers(0, pickle.HIGHEST_PROTOCOL))
@settings(max_examples=200, deadline=None)
def test_reads_plain_values_as_pickle_does(value: object, protocol: int) -> None:
    assert plain(Reader().read(io.BytesIO(pickle.dumps(value, protocol)))) == value


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes(data: bytes) -> None:
    reader = Reader()
    try:
        reader.read(io.BytesIO(data))
    except PickleError:
        return


# --- the real torch, where it is installed ---------------------------------------------------


def test_what_torch_saves(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    state = {
        "gpt.text_embedding.weight": torch.rand(30, 4),
        "gpt.half": torch.rand(3).half(),
        "gpt.parameter": torch.nn.Parameter(torch.rand(2)),
        "gpt.count": torch.tensor(3),
    }
    adam = torch.optim.AdamW([state["gpt.parameter"]])
    state["gpt.parameter"].sum().backward()
    adam.step()
    trainer = {
        "config": {"a": [1, 2.5, None, True]},
        "model": OrderedDict((f"xtts.{k}", v) for k, v in state.items()),
        "optimizer": adam.state_dict(),
        "scaler": None,
        "step": 3,
        "epoch": 1,
        "model_loss": {"train_loss": 1.0, "eval_loss": None},
    }
    for legacy in (False, True):
        file = tmp_path / "best_model.pth"
        torch.save(trainer, file, _use_new_zipfile_serialization=not legacy)
        got = summarize(file)
        assert (got.kind, got.container) == ("trainer", "legacy" if legacy else "zip")
        assert (got.step, got.epoch, got.text_tokens, got.problem) == (3, 1, 30, None)
        assert got.is_safe
        shapes = {name: (info.shape, info.dtype) for name, info in got.tensors.items()}
        assert shapes == {
            f"xtts.{name}": (tuple(value.shape), str(value.dtype).removeprefix("torch."))
            for name, value in state.items()
        }


def test_a_whole_module_is_foreign(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "file.pth")
    got = summarize(tmp_path / "file.pth")
    assert "torch.nn.modules.linear.Linear" in got.foreign_globals
