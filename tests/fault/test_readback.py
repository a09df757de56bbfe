"""A medium that takes everything and gives other bytes back: what `--readback` is for."""

from __future__ import annotations

import subprocess
from pathlib import Path

from support import blob_file, filled_store, make_small_set

from fault.tracing import require_tracing, run_traced
from xttsreg.cli import main


def test_a_medium_that_gives_other_bytes_back(tmp_path: Path) -> None:
    """strace changes what the kernel hands over when the file on the stick is read."""
    require_tracing()
    home, stick = tmp_path / "home", tmp_path / "stick"
    store = filled_store(home / "store", make_small_set(tmp_path / "w", model_pth=3_000_000))
    path = stick / "blobs" / "sha256" / blob_file(store, "model.pth").name

    def write(*more: str) -> int:
        return main(["bundle", "own:v1", "-o", str(stick), *more])

    # Of all calls, those on this one file; its first read is the one after it was written.
    bad = "read:poke_exit=@arg2=0badc0de:when=2"
    ended = run_traced(
        lambda: write("--readback"), home, inject=bad, calls=["read"], options=["-P", str(path)]
    )
    assert (ended.code, "read back from the medium" in ended.stderr) == (4, True), ended
    assert "take another stick" in ended.stderr
    assert path.name in ended.stderr
    assert not path.exists()
    assert not (stick / "SHA256SUMS").exists(), "it is no bundle"
    # Without the option nobody would know.
    ended = run_traced(write, home, inject=bad, calls=["read"], options=["-P", str(path)])
    assert (ended.code, "INJECTED" in ended.log) == (0, False), ended
    # The same stick in a sound port.
    assert run_traced(lambda: write("--readback"), home).code == 0
    sums = ["sha256sum", "--quiet", "-c", "SHA256SUMS"]
    assert subprocess.run(sums, cwd=stick).returncode == 0
