#!/usr/bin/env python3
"""Install xttsreg from this bundle. Needs Python and nothing else: no network, no pip, no xttsreg.

    python3 install.py --target /opt/xttsreg

It checks the files that it uses, makes a virtual environment of the wheels in the bundle, takes the
bundle into the store, and runs `xttsreg doctor`. Twice does no harm; after a crash, run it again.
"""

import sys

if __name__ == "__main__" and not sys.flags.isolated:
    # A json.py beside this file must not be taken for Python's own: the stick was elsewhere.
    _cut = max(__file__.rfind("/"), __file__.rfind("\\"))
    sys.path[:] = [p for p in sys.path[1:] if p not in ("", ".", __file__[: max(_cut, 0)])]

import argparse
import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Dict, Iterator, List, NoReturn, Optional, Sequence, Tuple

NAMESPACE = "xttsreg-bundle-v1"
ENVIRONMENT = "application/vnd.xttsreg.environment.v1+json"
LOCK = "application/vnd.xttsreg.environment.lock.v1.raw"
FORMATS = (2,)
MARK = "xttsreg-environment.json"
CHUNK_BYTES = 1024 * 1024
LIST_BYTES = 64 * CHUNK_BYTES
_PIP = (
    "import sys, runpy; sys.path.insert(0, sys.argv.pop(1)); sys.argv[0] = 'pip'; "
    "runpy.run_module('pip', run_name='__main__', alter_sys=True)"
)


class Failure(Exception):  # noqa: N818
    """What happened, what to do next, and the exit code (those of xttsreg)."""

    def __init__(self, message: str, hint: str, code: int) -> None:
        super().__init__(message)
        self.message, self.hint, self.code = message, hint, code


def say(text: str) -> None:
    """One line for the person who watches."""
    print(text, file=sys.stderr, flush=True)


def damaged(what: str) -> NoReturn:
    """A file is not what it should be."""
    raise Failure(f"{what}: not what SHA256SUMS says", "carry the bundle again", 4)


# --- the sticks ----------------------------------------------------------------------------------


class Stick:
    """One directory of a bundle. Nothing of it is believed before its digest was compared."""

    def __init__(self, root: Path, trust: Optional[Path], revoked: Optional[Path]) -> None:
        self.root = root
        try:
            self.raw_sums = read_limited(root / "SHA256SUMS")
        except OSError:
            raise Failure(f"{root}: no bundle here", "give the directory with SHA256SUMS", 2)
        # Before anything is parsed: bytes of a stranger are not even read.
        self.origin = check_signature(root, self.raw_sums, trust, revoked)
        self.sums = parse_sums(self.raw_sums.decode("utf-8", "replace"))
        self.listing_bytes = self.read("bundle.json")
        self.listing = parse(self.listing_bytes)
        if self.listing.get("format_version") not in FORMATS:
            raise Failure(f"{root}: bundle of another format", "use the install.py beside it", 2)

    def read(self, name: str) -> bytes:
        """A small file, proven."""
        try:
            data = read_limited(self.root / name)
        except OSError as error:
            raise Failure(f"{self.root / name}: {error.strerror}", "carry the bundle again", 4)
        if hashlib.sha256(data).hexdigest() != self.sums.get(name):
            damaged(str(self.root / name))
        return data

    def has(self, name: str) -> bool:
        """Whether this stick should have the file, and does."""
        return name in self.sums and (self.root / name).is_file()


def read_limited(path: Path) -> bytes:
    """A small file; of one that is none, enough to be refused."""
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    with path.open("rb") as file:
        return file.read(LIST_BYTES)


def parse(data: bytes) -> Dict[str, Any]:
    """A JSON object, no key of it twice: two readers could then disagree on what was signed."""

    def unique(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key occurs twice")
        return found

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=unique)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def parse_sums(text: str) -> Dict[str, str]:
    """File name to hex digits. Names that would leave the stick are refused."""
    found: Dict[str, str] = {}
    for line in filter(None, text.split("\n")):
        match = re.fullmatch(r"([0-9a-f]{64}) [ *]([^\x00-\x1f\\:]+)", line)
        if not match or match[2] in found or ".." in match[2].split("/") or match[2][0] == "/":
            raise Failure(f"SHA256SUMS: malformed line {line[:80]!r}", "carry the bundle again", 4)
        found[match[2]] = match[1]
    return found


def hex_of(digest: Any) -> str:
    """The hex digits of a digest in OCI notation."""
    if not isinstance(digest, str) or not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise Failure(f"not a digest: {str(digest)[:80]!r}", "carry the bundle again", 4)
    return digest[7:]


class Bundle:
    """All sticks that are there, as one."""

    def __init__(
        self, directories: Sequence[Path], trust: Optional[Path], revoked: Optional[Path]
    ) -> None:
        self.sticks: List[Stick] = []
        self._trust, self._revoked = trust, revoked
        for directory in directories:
            self.add(directory)

    def add(self, directory: Path) -> None:
        """One more stick; it must be of the same bundle."""
        stick = Stick(directory, self._trust, self._revoked)
        if self.sticks and stick.listing_bytes != self.sticks[0].listing_bytes:
            raise Failure(f"{directory}: of another bundle", "give the sticks of one bundle", 4)
        self.sticks.append(stick)

    def blob(self, digest: str) -> bytes:
        """A small blob, proven."""
        data = b""
        for chunk in self.chunks(digest):
            data += chunk
            if len(data) > LIST_BYTES:
                damaged(f"blob {digest}")
        return data

    def chunks(self, digest: str) -> Iterator[bytes]:
        """A blob's bytes, joined from its parts if need be; the end proves that they are right."""
        hasher = hashlib.sha256()
        for name in self.pieces(digest):
            with self.find(name).open("rb") as file:
                for chunk in iter(lambda: file.read(CHUNK_BYTES), b""):
                    hasher.update(chunk)
                    yield chunk
        if hasher.hexdigest() != hex_of(digest):
            damaged(f"blob {digest}")

    def pieces(self, digest: str) -> List[str]:
        """The files that make up a blob, in order."""
        for split in self.sticks[0].listing.get("parts", ()):
            if split["digest"] == digest:
                return [str(path) for path in split["paths"]]
        return [f"blobs/sha256/{hex_of(digest)}"]

    def find(self, name: str) -> Path:
        """Where a file is; asks for the stick that has it."""
        while True:
            for stick in self.sticks:
                if stick.has(name):
                    return stick.root / name
            listed = {f["path"]: f["volume"] for f in self.sticks[0].listing["files"]}
            if any(name in s.sums and listed.get(name) in (None, 0) for s in self.sticks):
                raise Failure(f"{name}: missing", "carry the bundle again", 4)
            self._ask(name, listed.get(name))

    def _ask(self, name: str, volume: Optional[int]) -> None:
        count = self.sticks[0].listing.get("volumes", 1)
        if volume is None or count < 2:
            raise Failure(f"{name}: missing", "carry the bundle again", 4)
        if not sys.stdin.isatty():
            raise Failure(f"{name}: on stick {volume} of {count}, which is not here",
                          "give the directories of all sticks", 3)  # fmt: skip
        say(f"Stick {volume} of {count} is needed. Where is it?")
        self.add(Path(input("directory: ").strip()))

    def environments(self) -> List[Tuple[str, Dict[str, Any], Dict[str, Any], str]]:
        """Tag, configuration, manifest and digest of every environment."""
        found = []
        for entry in parse(self.sticks[0].read("index.json"))["manifests"]:
            manifest = parse(self.blob(entry["digest"]))
            if manifest.get("artifactType") == ENVIRONMENT:
                config = parse(self.blob(manifest["config"]["digest"]))
                tag = entry.get("annotations", {}).get("org.opencontainers.image.ref.name", "")
                found.append((tag, config, manifest, entry["digest"]))
        return found


# --- who made it ---------------------------------------------------------------------------------


def check_signature(root: Path, sums: bytes, trust: Optional[Path], revoked: Optional[Path]) -> str:
    """What is known of who made this stick, for people; a failure if that is not who should."""
    signature = root / "SHA256SUMS.sig"
    keygen = shutil.which("ssh-keygen")
    if trust is None:
        signed = "signed" if signature.is_file() else "not signed"
        return f"{signed}; NOT CHECKED who made it, since no --trust FILE was given"
    if not signature.is_file():
        raise Failure(f"{root}: not signed, and --trust was given", "ask its maker", 4)
    if not keygen:
        raise Failure("the signature cannot be checked: ssh-keygen is not on this machine",
                      "install OpenSSH, or leave --trust away and check by hand", 8)  # fmt: skip
    name = [keygen, "-Y", "find-principals", "-f", str(trust), "-s", str(signature)]
    found = subprocess.run(name, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    for who in found.stdout.decode("utf-8", "replace").splitlines():
        command = [keygen, "-Y", "verify", "-f", str(trust), "-I", who, "-n", NAMESPACE,
                   "-s", str(signature), *(["-r", str(revoked)] if revoked else [])]  # fmt: skip
        done = subprocess.run(command, input=sums, capture_output=True, check=False)
        if done.returncode == 0:
            return f"signed by {who}"
    raise Failure(f"{signature}: not a valid signature of anyone in {trust}",
                  "do not use this bundle; ask its maker", 4)  # fmt: skip


def policy_file(given: Optional[Path], variable: str, name: str) -> Optional[Path]:
    """What was given, else the variable, else the file in the home: as `xttsreg import` has it."""
    homes = {"Windows": os.environ.get("LOCALAPPDATA"), "Darwin": "~/Library/Application Support"}
    base = homes.get(platform.system(), os.environ.get("XDG_DATA_HOME")) or "~/.local/share"
    home = os.environ.get("XTTSREG_HOME") or os.path.join(base, "xttsreg")
    named = given or os.environ.get(variable)
    path = Path(named or os.path.join(home, name)).expanduser()
    if not named and not os.path.lexists(path):
        return None
    with contextlib.suppress(OSError):
        if path.read_bytes().strip():
            return path
    raise Failure(f"{path}: empty, or not there", "it says whose signatures count: mend it", 2)


# --- which environment ---------------------------------------------------------------------------


def fits(config: Dict[str, Any], python: Tuple[int, ...], system: str, machine: str,
         release: Tuple[int, ...]) -> bool:  # fmt: skip
    """Whether an environment is for this Python.

    Args:
        config: Of the environment.
        python: Major and minor version.
        system: ``Linux``, ``Darwin`` or ``Windows``.
        machine: As `platform.machine` has it.
        release: Of glibc or macOS; empty for musl and Windows.
    """
    if config.get("python") != f"{python[0]}.{python[1]}":
        return False
    arch = {"AMD64": "x86_64", "ARM64": "arm64"}.get(machine, machine)
    tag = str(config.get("platform"))
    if system == "Windows":
        return tag == {"x86_64": "win_amd64", "arm64": "win_arm64", "x86": "win32"}.get(arch)
    family = "macosx" if system == "Darwin" else "manylinux" if release else "musllinux"
    match = re.fullmatch(family + r"_(\d+)_(\d+)_(\w+)", tag)
    if not match or match[3] != arch:
        return False
    return not release or release[:2] >= (int(match[1]), int(match[2]))


def here() -> Tuple[Tuple[int, ...], str, str, Tuple[int, ...]]:
    """The arguments of `fits` for this Python."""
    system = platform.system()
    text = platform.mac_ver()[0] if system == "Darwin" else platform.libc_ver()[1]
    release = tuple(int(part) for part in re.findall(r"\d+", text)[:2])
    if system == "Windows":
        release = ()
    return sys.version_info[:2], system, platform.machine(), release


def choose(bundle: Bundle, wanted: Optional[str]) -> Tuple[str, Dict[str, Any], str]:
    """Tag, manifest and digest of the environment to install: the one with the most in it."""
    every = bundle.environments()
    this = here()
    named = [e for e in every if wanted in (None, e[0], e[0].partition(":")[2])]
    fitting = [e for e in named if fits(e[1], *this)]
    if not fitting:
        have = ", ".join(e[0] for e in every) or "none"
        other = next(
            (
                c
                for e in named
                for c in [shutil.which(f"python{e[1].get('python')}")]
                if c and fits(e[1], tuple(map(int, e[1]["python"].split("."))), *this[1:])
            ),
            None,
        )
        version = "{}.{}".format(*this[0])
        raise Failure(
            f"no environment for Python {version} on {this[1]} {this[2]}; this bundle has: {have}",
            f"run it with {other}" if other else "use a Python that one of them is for, or ask "
            "for a bundle with an environment for this machine", 3)  # fmt: skip
    best = max(fitting, key=lambda e: (len(e[1].get("extras", ())), len(e[2]["layers"]), e[0]))
    return best[0], best[2], best[3]


# --- installing ----------------------------------------------------------------------------------


def venv_python(target: Path, system: str) -> Path:
    """The interpreter of a virtual environment."""
    return target / "Scripts" / "python.exe" if system == "Windows" else target / "bin" / "python"


def clean_environment() -> Dict[str, str]:
    """This process's environment without what would send pip or Python elsewhere."""
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(("PIP_", "PYTHON"))}
    return {**kept, "PIP_CONFIG_FILE": os.devnull}


def run(command: Sequence[object], what: str) -> None:
    """Run a child, isolated from the user's Python settings."""
    code = subprocess.call([str(part) for part in command], env=clean_environment())
    if code:
        raise Failure(f"{what} failed with exit code {code}", "see above; then run this again",
                      code if 0 < code < 126 else 1)  # fmt: skip


def place_wheels(bundle: Bundle, manifest: Dict[str, Any], folder: Path) -> Tuple[Path, Path]:
    """Every wheel under its name, proven. Returns the lock and pip's own wheel."""
    lock = pip = None
    for layer in manifest["layers"]:
        name = str(layer.get("annotations", {}).get("org.cncf.model.filepath", ""))
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+!-]*", name):
            raise Failure(f"unsafe file name {name[:80]!r}", "ask the bundle's maker", 4)
        path = folder / name
        if not is_right(path, layer):
            temporary = folder / (name + ".part")
            with temporary.open("wb") as file:
                for chunk in bundle.chunks(layer["digest"]):
                    file.write(chunk)
            temporary.replace(path)
        lock = path if layer["mediaType"] == LOCK else lock
        pip = path if re.match(r"pip-\d", name) else pip
    if not lock or not pip:
        raise Failure("the environment has no lock or no pip", "ask the bundle's maker", 4)
    return lock, pip


def is_right(path: Path, layer: Dict[str, Any]) -> bool:
    """Whether a file is there and is what the layer says."""
    if not path.is_file() or path.stat().st_size != layer["size"]:
        return False
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(CHUNK_BYTES), b""):
            hasher.update(chunk)
    return hasher.hexdigest() == hex_of(layer["digest"])


def read_mark(target: Path) -> Dict[str, Any]:
    """What an earlier run left in the target; empty if nothing did."""
    with contextlib.suppress(OSError, ValueError):
        value = json.loads((target / MARK).read_text("utf-8"))
        return value if isinstance(value, dict) else {}
    return {}


def write_mark(target: Path, digest: str, state: str) -> None:
    """Say how far the target is, whole or not at all."""
    temporary = target / (MARK + ".tmp")
    temporary.write_text(json.dumps({"environment": digest, "state": state}), "utf-8")
    temporary.replace(target / MARK)


def install(bundle: Bundle, manifest: Dict[str, Any], digest: str, target: Path) -> None:
    """Make the virtual environment, unless it is there and whole."""
    mark = read_mark(target)
    if mark == {"environment": digest, "state": "complete"}:
        say(f"{target}: this environment is there already")
        return
    folder = target.with_name(f".{target.name}.wheels")
    folder.mkdir(parents=True, exist_ok=True)
    lock, pip = place_wheels(bundle, manifest, folder)
    # What an interrupted pip left looks installed to the next one: begin from nothing.
    clear = ["--clear"] if mark else []
    target.mkdir(parents=True, exist_ok=True)
    write_mark(target, digest, "installing")
    run([sys.executable, "-I", "-m", "venv", "--without-pip", *clear, target], "venv")
    write_mark(target, digest, "installing")
    python = venv_python(target, platform.system())
    run([python, "-I", "-c", _PIP, pip, "install", "--no-index", "--require-hashes",
         "--only-binary", ":all:", "--no-deps", "--no-cache-dir", "--no-input", "--quiet",
         "--disable-pip-version-check", "--no-warn-script-location", "--find-links", folder,
         "-r", lock], "pip")  # fmt: skip
    write_mark(target, digest, "complete")
    shutil.rmtree(folder, ignore_errors=True)


def require_target(target: Path) -> None:
    """Refuse a folder that holds something else."""
    if target.exists() and not target.is_dir():
        raise Failure(f"{target}: not a directory", "give another --target", 2)
    if target.is_dir() and any(target.iterdir()) and not read_mark(target):
        raise Failure(f"{target}: holds other things", "give an empty or new --target", 2)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Parse, show, install, import, look."""
    stick = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description="Install xttsreg from this bundle.")
    parser.add_argument("sticks", nargs="*", type=Path, help="all sticks of the bundle")
    parser.add_argument("--target", type=Path, default=Path.home() / "xttsreg", metavar="DIR",
                        help="the virtual environment to make (default: %(default)s)")  # fmt: skip
    parser.add_argument("--store", type=Path, metavar="DIR", help="xttsreg's store")
    parser.add_argument("--trust", type=Path, metavar="FILE", help="allowed_signers of OpenSSH")
    parser.add_argument("--revoked", type=Path, metavar="FILE", help="keys that no longer count")
    parser.add_argument("--environment", metavar="TAG", help="if several fit this machine")
    parser.add_argument("--dry-run", action="store_true", help="check and show, change nothing")
    options = parser.parse_args(arguments)
    options.trust = policy_file(options.trust, "XTTSREG_TRUST", "allowed_signers")
    options.revoked = policy_file(options.revoked, "XTTSREG_REVOKED", "revoked_keys")
    directories = [path.resolve() for path in options.sticks] or [stick]
    bundle = Bundle(directories, options.trust, options.revoked)
    for each in bundle.sticks:
        say(f"bundle:      {each.listing['bundle_id']} in {each.root}")
        say(f"signature:   {each.origin}")
    tag, manifest, digest = choose(bundle, options.environment)
    target = Path(os.path.abspath(options.target))
    require_target(target)
    size = sum(layer["size"] for layer in manifest["layers"])
    say(f"environment: {tag}, {len(manifest['layers']) - 1} wheels, {size / 1e6:.0f} MB")
    say(f"target:      {target} (with {sys.executable})")
    say("then:        xttsreg import, xttsreg doctor")
    if options.dry_run:
        for layer in manifest["layers"]:
            for _ in bundle.chunks(layer["digest"]):
                pass
        say("dry run: every file of the environment is right; nothing was changed")
        return 0
    install(bundle, manifest, digest, target)
    xttsreg = [venv_python(target, platform.system()), "-I", "-m", "xttsreg"]
    store = ["--store", os.path.abspath(options.store)] if options.store else []
    trust = ["--trust", os.path.abspath(options.trust)] if options.trust else []
    trust += ["--revoked", os.path.abspath(options.revoked)] if options.revoked else []
    roots = [each.root for each in bundle.sticks]
    run([*xttsreg, "import", *roots, *store, *trust], "xttsreg import")
    run([*xttsreg, "doctor", *store], "xttsreg doctor")
    say(f"done. Run {venv_python(target, platform.system()).parent / 'xttsreg'}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        say(f"error: {failure.message}\nnext:  {failure.hint}")
        sys.exit(failure.code)
    except OSError as error:
        say(f"error: {error.filename or 'disk'}: {error.strerror}\nnext:  mend it, run this again")
        sys.exit(5)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        say(f"error: the bundle is malformed ({error!r:.200})\nnext:  carry the bundle again")
        sys.exit(4)
    except KeyboardInterrupt:
        say("error: interrupted\nnext:  run it again, it goes on")
        sys.exit(130)
