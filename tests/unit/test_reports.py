"""A report lies beside its voice: it travels with it, and goes with it."""

from __future__ import annotations

from pathlib import Path

from xttsreg.ops.copy import copy, select
from xttsreg.ops.gc import gc
from xttsreg.ops.reports import ABOUT, REPORT_FILE, REPORT_TYPE, SENTENCE, Sound, hold_report
from xttsreg.stores.layout import LayoutStore

PAGE = b"<!DOCTYPE html><title>r</title>"
SOUND = Sound("after.wav", "the voice", b"RIFF")


def test_it_travels_and_goes_with_its_voice(filled: LayoutStore, store: LayoutStore) -> None:
    entry = filled.tags()["own:v1"]
    held = hold_report(filled, entry, PAGE, sentence="Good morning.", sounds=[SOUND])
    assert hold_report(filled, entry, PAGE, sentence="Good morning.", sounds=[SOUND]) == held
    assert filled.tags()["own:v1"].digest == entry.digest
    assert gc(filled, dry_run=False).blobs == []
    copy(filled, store, select(filled, {"own:v1": entry}))
    ((found, report),) = store.referrers(entry.digest)
    assert (found.digest, report.artifact_type) == (held.digest, REPORT_TYPE)
    assert report.annotations[SENTENCE] == "Good morning."
    files = report.files()
    assert list(files) == [REPORT_FILE, "after.wav"]
    assert files["after.wav"].annotations[ABOUT] == "the voice"
    with store.open(files[REPORT_FILE]) as page:
        assert page.read() == PAGE
    store.untag("own:v1")
    gc(store, dry_run=False)
    assert (store.entries(), list(store.blob_digests())) == ((), [])


def test_a_bundle_carries_it(filled: LayoutStore, tmp_path: Path) -> None:
    from support import run_cli

    hold_report(filled, filled.tags()["own:v1"], PAGE, sounds=[SOUND])
    stick, other = tmp_path / "stick", tmp_path / "other"
    made = run_cli(["bundle", "own:v1", "-o", stick, "--store", filled.root], tmp_path / "home")
    assert made.code == 0, made.stderr
    assert run_cli(["import", stick], other).code == 0
    store = LayoutStore(other / "store")
    assert len(store.referrers(store.tags()["own:v1"].digest)) == 1
