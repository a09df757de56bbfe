"""A catalogue entry for a directory of files, as a user would write one for an own mirror."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from xttsreg.content.modelpack import LICENSE_FILE, roles_of
from xttsreg.content.stream import digest_stream


def catalog_entry(
    directory: Path,
    *,
    name: str,
    revision: str,
    sources: Sequence[str],
    license_name: str,
    summary: Sequence[str] = (),
    acceptance_required: bool = True,
) -> str:
    """The TOML text that pins every file of a directory.

    Args:
        directory: The files; ``LICENSE.txt`` must be one of them.
        name: Of the weight set.
        revision: 40 hex digits.
        sources: URLs with ``{revision}`` and ``{path}``.
        license_name: For people.
        summary: Up to three lines that are shown before the question.
        acceptance_required: Whether somebody must say yes.
    """
    lines = [
        f"name = {json.dumps(name)}",
        f"revision = {json.dumps(revision)}",
        'languages = ["en"]',
        f"sources = {json.dumps(list(sources))}",
        "[license]",
        'id = "LicenseRef-demo"',
        f"name = {json.dumps(license_name)}",
        f"path = {json.dumps(LICENSE_FILE)}",
        f"acceptance_required = {json.dumps(acceptance_required)}",
        f"summary = {json.dumps(list(summary))}",
    ]
    for path in sorted(p for p in directory.iterdir() if p.is_file()):
        with path.open("rb") as file:
            digest, size_bytes = digest_stream(file)
        lines += [
            "[[files]]",
            f"path = {json.dumps(path.name)}",
            f"size_bytes = {size_bytes}",
            f"sha256 = {json.dumps(digest.hex)}",
            f"roles = {json.dumps(list(roles_of(path.name) or ('infer',)))}",
        ]
    return "\n".join(lines) + "\n"
