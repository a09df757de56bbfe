from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from support import clean_environment, command

from xttsreg.cli.output import human_size, print_json, print_table


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (9_994, "9.99 kB"),
        (9_996, "10.0 kB"),
        (99_960, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (1_867_929_118, "1.87 GB"),
        (999_600_000_000, "1.00 TB"),
        (12_345_000_000_000_000, "12345 TB"),
    ],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert human_size(size) == text


def test_a_table_is_aligned_and_cuts_nothing_off(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"name": "a" * 90, "size": 5}, {"name": "b", "size": 12345}, {"name": None, "size": 1}]
    print_table(rows, {"name": "NAME", "size": "BYTES"})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "NAME" + " " * 88 + "BYTES"
    assert lines[1] == "a" * 90 + "      5"
    assert lines[2] == "b" + " " * 91 + "12345"
    assert len({len(line) for line in lines}) == 1


def test_a_table_of_nothing_has_its_headings(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([], {"a": "A", "b": "B"})
    assert capsys.readouterr().out == "A  B\n"


def test_what_a_bundle_says_cannot_steer_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"a": "x\x1b[2J\x9b\u202ey\nz"}], {"a": "A"})
    assert capsys.readouterr().out.splitlines()[1] == "x?[2J??y?z"


def test_json_keeps_every_character(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"name": "Zoë \x1b", "n": [1, None]}
    print_json(value)
    out = capsys.readouterr().out
    assert json.loads(out) == value
    assert "\x1b" not in out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_output_that_cannot_be_written_is_no_bug_of_ours(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command("catalog", "ls"), env=clean_environment(tmp_path / "home"), stdout=full,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    lines = done.stderr.splitlines()
    assert done.returncode == 5, done.stderr
    assert lines[0].endswith("the output cannot be written: No space left on device")
    assert lines[1].startswith("next:")
