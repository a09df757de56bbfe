"""The wheel of the xttsreg that is running: what writes a bundle also travels with it."""

from __future__ import annotations

import importlib.metadata
import zipfile
from collections.abc import Callable
from email.parser import BytesParser
from pathlib import Path

import xttsreg
from xttsreg import places
from xttsreg.errors import InvalidInputError, InvalidRecipe
from xttsreg.ops.environment.repack import repack, write_wheel
from xttsreg.ops.environment.tools import Tools

# What an installer adds to a wheel's files.
_INSTALLERS = {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json"}


def own_wheel(tools: Tools, work: Path) -> Path:
    """Make the wheel of the running xttsreg; the same code gives the same bytes.

    From a checkout it is built, since the metadata of an editable installation may be older than
    the code. An installed xttsreg is put together again from its files.

    Raises:
        InvalidInputError: it is neither.
        RemoteError: the build failed.
    """
    package = Path(xttsreg.__file__).resolve().parent
    made = work / "own"
    made.mkdir(parents=True, exist_ok=True)
    if (package.parent / "pyproject.toml").is_file():
        built = work / "built"
        tools.run_uv(
            "build", "--quiet", "--wheel", str(package.parent), "--out-dir", str(built),
            "--build-constraint", str(places.builtin("constraints") / "build.txt"),
        )  # fmt: skip
        (wheel,) = built.glob("xttsreg-*.whl")
        repack(wheel, made / wheel.name)
        wheel.unlink()
    else:
        write_wheel(_installed_files(package), made / _name())
    (wheel,) = made.glob("*.whl")
    return wheel


def _name() -> str:
    return f"xttsreg-{importlib.metadata.version('xttsreg')}-py3-none-any.whl"


def _installed_files(package: Path) -> dict[str, Callable[[], bytes]]:
    try:
        found = importlib.metadata.distribution("xttsreg")
    except importlib.metadata.PackageNotFoundError:
        found = None
    listed = [] if found is None else found.files or []
    files: dict[str, Callable[[], bytes]] = {}
    for file in listed:
        place = Path(str(file.locate()))
        foreign = ".." in file.parts or "__pycache__" in file.parts or file.is_absolute()
        if not foreign and not (
            file.name in _INSTALLERS and file.parts[0].endswith(".dist-info")
        ):  # fmt: skip
            files[file.as_posix()] = place.read_bytes
    if "xttsreg/__init__.py" not in files or not package.samefile(
        Path(str(found.locate_file("xttsreg") if found else package))
    ):
        raise InvalidInputError(
            f"{package}: neither a checkout nor an installation of xttsreg, so it cannot travel",
            hint="install it with pip, and bundle with that one",
        )
    return files


def require_extras(wheel: Path, extras: tuple[str, ...]) -> None:
    """Make sure that xttsreg has these extras.

    Raises:
        InvalidRecipe: it has not; names those that it has.
    """
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        message = BytesParser().parsebytes(archive.read(name))
    known = {str(extra) for extra in message.get_all("Provides-Extra", [])}
    unknown = sorted(set(extras) - known)
    if unknown:
        raise InvalidRecipe(
            f"xttsreg has no extra {unknown[0]!r}", hint=f"it has {', '.join(sorted(known))}"
        )
