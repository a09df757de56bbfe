"""Datasets: what is wrong is named, and TTS's recursion is never reached."""

from __future__ import annotations

import os
import random
import shutil
import wave

import pytest

from xttsreg.demo.clips import make_dataset, sentence, write_clip
from xttsreg.errors import InvalidDataset
from xttsreg.training.dataset import check_dataset, load_dataset

from .conftest import quick

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("tts")]


@pytest.fixture
def broken(clips, tmp_path):
    shutil.copytree(clips, tmp_path / "data")
    return tmp_path / "data"


def test_summary(clips, tiny):
    summary = check_dataset(quick(clips), view=tiny)
    assert (summary.clips, summary.train_clips, summary.eval_clips) == (6, 4, 2)
    assert summary.sample_rates == (22050,)
    assert 9 < summary.seconds < 18
    assert summary.dropped == {}


def test_generator_repeats_and_varies(tmp_path, clips):
    make_dataset(tmp_path / "again", clips=6)
    make_dataset(tmp_path / "other", clips=1, seed=7)
    name = "wavs/clip_0001.wav"
    assert (tmp_path / "again" / name).read_bytes() == (clips / name).read_bytes()
    assert (tmp_path / "other" / name).read_bytes() != (clips / name).read_bytes()
    assert len({sentence(number) for number in range(210)}) == 210


@pytest.mark.parametrize(
    ("size", "expected"), [(0, (6, 0)), (0.5, (3, 3)), (1, (4, 2)), (2, (4, 2)), (99, (1, 5))]
)
def test_split(clips, size, expected):
    data = load_dataset(quick(clips, eval_split=size))
    assert (len(data.train), len(data.evaluation)) == expected


def test_missing_directory(tmp_path):
    with pytest.raises(InvalidDataset, match="no such dataset directory"):
        check_dataset(quick(tmp_path / "nowhere"))


def test_missing_metadata(broken):
    (broken / "metadata.csv").unlink()
    with pytest.raises(InvalidDataset, match=r"metadata\.csv: no such"):
        check_dataset(quick(broken))


def test_empty_metadata(broken):
    (broken / "metadata.csv").write_text("")
    with pytest.raises(InvalidDataset, match="no clips"):
        check_dataset(quick(broken))


def test_missing_clip_is_named(broken):
    (broken / "wavs" / "clip_0003.wav").unlink()
    with pytest.raises(InvalidDataset, match=r"1 of 6 clips.*clip_0003\.wav"):
        check_dataset(quick(broken))


def text_file(path):
    path.write_text("<html>")


def empty_file(path):
    path.write_bytes(b"")


def half(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def half_flac(path):
    """Found by its last sample: its header says how many there are, not how many bytes."""
    soundfile = pytest.importorskip("soundfile")
    samples, rate = soundfile.read(path)
    soundfile.write(path, samples, rate, format="FLAC")
    half(path)


def no_sample(path):
    with wave.open(str(path), "wb") as stream:
        stream.setparams((1, 2, 22050, 0, "NONE", ""))


def not_a_number(path):
    soundfile = pytest.importorskip("soundfile")
    samples, rate = soundfile.read(path)
    samples[len(samples) // 2] = float("nan")
    soundfile.write(path, samples, rate, subtype="FLOAT")


def directory(path):
    path.unlink()
    path.mkdir()


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def circle(path):
    path.unlink()
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (text_file, "not readable as audio"),
        (empty_file, "is an empty file"),
        (half, "is cut off, [0-9]+ of [0-9]+ bytes"),
        (half_flac, "cut off|not readable"),
        (no_sample, "has no samples"),
        (not_a_number, "are no numbers"),
        (directory, "is a directory"),
        (pipe, "is no regular file"),
        (circle, "1 of 6 clips are missing"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_unreadable_clip_is_named(broken, spoil, message):
    clip = broken / "wavs" / "clip_0002.wav"
    spoil(clip)
    with pytest.raises(InvalidDataset, match=message) as caught:
        check_dataset(quick(broken))
    assert str(clip) in caught.value.message
    assert "lines" in caught.value.hint


def test_a_clip_that_was_written_to_a_pipe_does_not_know_its_length(broken):
    with (broken / "wavs" / "clip_0001.wav").open("r+b") as stream:
        stream.seek(40)
        stream.write(b"\xff" * 4)
    assert check_dataset(quick(broken)).clips == 6


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("", "remove the line"),
        ("clip_0001|Hello.", "third column"),
        ("clip_0001,Hello,Hello", "not by commas"),
        ("clip_0001\tHello\tHello", "not by tabs"),
        ("clip_0001 Hello", "separate the columns by |"),
    ],
)
def test_a_line_with_too_few_columns_says_what_to_do(broken, line, hint):
    with (broken / "metadata.csv").open("a") as stream:
        stream.write(f"{line}\n")
    with pytest.raises(InvalidDataset, match="line 7: ") as caught:
        check_dataset(quick(broken))
    assert hint in caught.value.hint


def test_unusable_clips_are_counted_and_left_out(broken, tiny):
    write_clip(broken / "wavs" / "clip_0001.wav", seconds=0.2, rng=random.Random(1))
    lines = (broken / "metadata.csv").read_text().splitlines()
    lines[1] = "clip_0002|x|\u4f60"
    lines[2] = "clip_0003|x| "
    lines[3] = "clip_0004|x|" + "a long text " * 20
    (broken / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    summary = check_dataset(quick(broken, eval_split=0), view=tiny)
    assert summary.clips == 2
    assert sorted(summary.dropped.values()) == [1, 1, 1, 1]


def test_nothing_usable(broken):
    text = (broken / "metadata.csv").read_text()
    (broken / "metadata.csv").write_text(
        "".join(f"{n}| | \n" for n in map(first, text.splitlines()))
    )
    with pytest.raises(InvalidDataset, match="no usable clip is left.*6 without text"):
        check_dataset(quick(broken))


def first(line):
    return line.split("|")[0]


def test_unsupported_language(clips, tiny):
    with pytest.raises(InvalidDataset, match="'xx'") as caught:
        check_dataset(quick(clips, language="xx"), view=tiny)
    assert "en" in caught.value.hint


def test_unknown_formatter(clips):
    with pytest.raises(InvalidDataset, match="unknown formatter 'nope'") as caught:
        check_dataset(quick(clips, formatter="nope"))
    assert "ljspeech" in caught.value.hint
