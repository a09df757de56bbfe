"""The layers of the design, held against the source."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT
from support.dependencies import MOST, closure

PACKAGE = ROOT / "xttsreg"
# Longest prefix wins. What is not listed here belongs to no layer, and fails the test.
LAYERS = {
    "xttsreg": 0,  # the version, nothing else
    "xttsreg.errors": 0,
    "xttsreg._stick": 0,  # not imported at all: a program of its own
    "xttsreg.content": 1,
    "xttsreg.look": 1,
    "xttsreg.stores": 2,
    "xttsreg.remote": 2,
    "xttsreg.catalog": 2,
    "xttsreg.places": 2,
    "xttsreg.ops": 3,
    "xttsreg.training": 4,
    "xttsreg.serve": 4,
    "xttsreg.cli": 5,
    "xttsreg.demo": 5,
    "xttsreg.__main__": 5,
}
TRAINING_ONLY = {"TTS", "trainer", "torch", "torchaudio", "transformers", "coqpit"}
MAX_LINES = 330  # "about 300"
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> int | None:
    parts = module.split(".")
    if parts == ["xttsreg"]:
        return 0
    return LAYERS.get(".".join(parts[:2]))


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and module of every import, those in functions and under TYPE_CHECKING included."""
    package = (
        name_of(path).split(".") if path.name == "__init__.py" else name_of(path).split(".")[:-1]
    )
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield node.lineno, base
            # `from xttsreg import places` names a module, too
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).endswith("import_module")
            and isinstance(node.args[0], ast.Constant)
        ):
            yield node.lineno, str(node.args[0].value)


def calls_of(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def test_every_module_has_a_layer() -> None:
    assert [name_of(path) for path in MODULES if layer_of(name_of(path)) is None] == []
    assert len(MODULES) > 50


def test_imports_go_down_the_layers_only() -> None:
    wrong = []
    for path in MODULES:
        own = layer_of(name_of(path))
        for line, module in imports_of(path):
            other = layer_of(module) if module.split(".")[0] == "xttsreg" else None
            if own is not None and other is not None and other > own:
                wrong.append(f"{where(path, line)} imports {module}")
    assert wrong == []


def test_training_and_serve_do_not_know_each_other() -> None:
    wrong = [
        f"{where(path, line)} imports {module}"
        for path in MODULES
        for line, module in imports_of(path)
        if name_of(path).startswith("xttsreg.training") and module.startswith("xttsreg.serve")
    ]
    assert wrong == []


def test_only_training_imports_the_trainer() -> None:
    found = {
        name_of(path).split(".")[1]
        for path in MODULES
        for _, module in imports_of(path)
        if module.split(".")[0] in TRAINING_ONLY
    }
    assert found == {"training"}


def test_content_is_the_standard_library_and_pydantic() -> None:
    allowed = {*sys.stdlib_module_names, "pydantic", "pydantic_core", "tomli", "xttsreg"}
    wrong = [
        f"{where(path, line)} imports {module}"
        for path in (PACKAGE / "content").glob("*.py")
        for line, module in imports_of(path)
        if module.split(".")[0] not in allowed
    ]
    assert wrong == []


def test_nothing_below_the_command_line_prints_or_exits() -> None:
    allowed = ("xttsreg.cli", "xttsreg.demo", "xttsreg.__main__", "xttsreg._stick.install")
    wrong = [
        f"{where(path, line)} calls {called}"
        for path in MODULES
        if not name_of(path).startswith(allowed)
        for line, called in calls_of(path)
        if called in ("print", "sys.exit", "exit", "quit", "sys.stdout.write", "breakpoint")
    ]
    assert wrong == []


def test_only_durable_changes_files_of_a_store() -> None:
    """Every rename in stores/ and ops/ goes through the one place that gets the order right."""
    found = {
        path.relative_to(PACKAGE).as_posix()
        for folder in ("stores", "ops", "content")
        for path in (PACKAGE / folder).glob("*.py")
        for _, called in calls_of(path)
        if called in ("os.replace", "os.rename", "shutil.move")
        or called.endswith((".replace", ".rename"))
        and "temporary" in called
    }
    # verified.py keeps a cache that may be lost, and says so.
    assert found == {"stores/durable.py", "stores/verified.py"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_are_about_300_lines_at_most(path: Path) -> None:
    lines = path.read_text("utf-8").count("\n")
    # install.py has to be one file: it runs where nothing else is.
    assert lines <= {"layout.py": 460, "install.py": 490}.get(path.name, MAX_LINES)


@pytest.mark.parametrize("module", ["xttsreg.cli", "xttsreg.cli.app"])
def test_the_command_line_loads_nothing_heavy(module: str) -> None:
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)}
    heavy = {"torch", "TTS", "trainer", "requests", "urllib3", "pydantic", "rich", "filelock"}
    assert loaded & heavy == set()
    assert "xttsreg" in loaded


def test_the_version_needs_not_even_click() -> None:
    code = (
        "import sys; from xttsreg.cli import main; code = main(['--version']);"
        "sys.exit(code or 'click' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("xttsreg 0.")


@pytest.mark.parametrize("extra", MOST)
def test_few_packages_come_along(extra: str) -> None:
    """Each is code of strangers that runs as the user: one more wants a reason."""
    found = closure(extra)
    assert len(found) <= MOST[extra], sorted(found)
    assert {"click", "pydantic", "requests", "urllib3"} <= found


def test_nothing_is_given_to_a_shell() -> None:
    """Programs are started with a list of arguments: no text of a stranger is parsed by one."""
    shells = ("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput")
    wrong = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called, text = ast.unparse(node.func), ast.unparse(node)
            if (
                any(keyword.arg == "shell" for keyword in node.keywords)
                or called in shells
                or called.endswith(("create_subprocess_shell", "pty.spawn"))
                or re.search(r"""["'](/bin/)?(sh|bash|cmd|powershell)["'], ["'][-/]c""", text)
            ):
                wrong.append(f"{where(path, node.lineno)} calls {called}")
    assert wrong == []
