"""Archives with a signature: what a changed byte, and no signature at all, come to."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest
from support import damage, filled_store, leftovers, make_small_set, run_cli, tree
from support.ssh import allow, make_key

from xttsreg.stores.layout import LayoutStore

pytestmark = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="no ssh-keygen here")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys, who may sign, a store, and its archive with alice's signature and without one."""
    root = tmp_path_factory.mktemp("archives")
    filled_store(root / "home" / "store", make_small_set(root / "w", model_pth=20_000))
    for name in ("alice", "mallory"):
        make_key(root, name)
    allow(root / "allowed", alice=root / "alice")
    allow(root / "others", mallory=root / "mallory")
    for args in (["signed.tar", "--sign", root / "alice"], ["unsigned.tar"]):
        done = run_cli(["bundle", "own:v1", "--archive", root / args[0], *args[1:]], root / "home")
        assert done.code == 0, done.stderr
    return root


def test_its_signer_is_named_and_strangers_are_not_taken(made: Path, tmp_path: Path) -> None:
    done = run_cli(["import", made / "signed.tar", "--trust", made / "allowed"], tmp_path / "home")
    assert (done.code, done.stdout.startswith("own:v1@sha256:")) == (0, True), done.stderr
    assert "signed by alice@lab" in done.stderr
    assert tree(tmp_path / "home" / "store") == tree(made / "home" / "store")
    done = run_cli(["import", made / "signed.tar", "--trust", made / "others"], tmp_path / "other")
    assert (done.code, done.stdout) == (4, "")
    done = run_cli(["import", made / "unsigned.tar", "--trust", made / "allowed"], tmp_path / "no")
    assert (done.code, "not signed" in done.error) == (4, True)
    assert "--allow-unsigned" in done.hint
    for home in ("other", "no"):
        assert not (tmp_path / home / "store" / "index.json").exists()


def test_one_changed_byte_in_any_member_is_refused(made: Path, tmp_path: Path) -> None:
    with tarfile.open(made / "signed.tar") as tar:
        members = [(info.name, info.offset_data, info.size) for info in tar if info.size]
    assert [name for name, _, _ in members[:3]] == ["SHA256SUMS", "SHA256SUMS.sig", "bundle.json"]
    store = LayoutStore.create(tmp_path / "home" / "store")
    for name, offset_bytes, size_bytes in members:
        changed = Path(shutil.copy(made / "signed.tar", tmp_path / "changed.tar"))
        damage(changed, offset_bytes + size_bytes // 2)
        done = run_cli(["import", changed, "--trust", made / "allowed"], tmp_path / "home")
        assert (done.code, done.stdout, done.hint != "") == (4, "", True), name
        assert (leftovers(store), dict(store.tags())) == ([], {}), name
