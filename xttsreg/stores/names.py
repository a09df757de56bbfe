"""Names of what lies at the top of a store; for those, too, who must not wait for pydantic."""

from __future__ import annotations

from xttsreg.content.canonical import dump_canonical

STATE_DIRECTORY = ".xttsreg"
INDEX_FILE = "index.json"
LAYOUT_FILE = "oci-layout"
LAYOUT_VERSION = "1.0.0"
LAYOUT = dump_canonical({"imageLayoutVersion": LAYOUT_VERSION})
"""What the file of the layout has in it."""
