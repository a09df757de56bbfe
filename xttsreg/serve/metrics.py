"""Counters, in the text format that Prometheus reads."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from xttsreg.serve.proofs import Proofs
from xttsreg.serve.shelf import Snapshot


@dataclass(slots=True)
class Metrics:
    """What the server has done since it started.

    Attributes:
        requests: Answers by surface and status.
        sent_bytes: Bytes of blobs by surface.
        open_requests: Being answered now.
        aborted: Clients that went away in the middle.
        started_s: Clock at the start, in seconds since 1970.
    """

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    sent_bytes: Counter[str] = field(default_factory=Counter)
    open_requests: int = 0
    aborted: int = 0
    started_s: float = field(default_factory=time.time)

    def text(self, snapshot: Snapshot, proofs: Proofs) -> str:
        """All of it, one sample a line."""
        kinds = Counter(item.kind for item in snapshot.items.values())
        families: list[tuple[str, str, str, Iterable[tuple[str, float]]]] = [
            ("requests_total", "counter", "Answers, by surface and status.",
             [(f'{{surface="{surface}",status="{status}"}}', count)
              for (surface, status), count in sorted(self.requests.items())]),
            ("sent_bytes_total", "counter", "Bytes of blobs that were sent.",
             [(f'{{surface="{surface}"}}', count)
              for surface, count in sorted(self.sent_bytes.items())]),
            ("open_requests", "gauge", "Requests being answered.", [("", self.open_requests)]),
            ("aborted_total", "counter", "Clients that went away.", [("", self.aborted)]),
            ("hashed_blobs_total", "counter", "Blobs hashed.", [("", proofs.hashed)]),
            ("hashed_bytes_total", "counter", "Bytes hashed.", [("", proofs.hashed_bytes)]),
            ("damaged_blobs", "gauge", "Blobs found wrong, not sent.", [("", proofs.damaged)]),
            ("names", "gauge", "Names in the store, by kind.",
             [(f'{{kind="{kind}"}}', count) for kind, count in sorted(kinds.items())]),
            ("unreadable_names", "gauge", "Names whose manifest cannot be read.",
             [("", len(snapshot.unreadable))]),
            ("start_time_seconds", "gauge", "Start, since 1970.", [("", self.started_s)]),
        ]  # fmt: skip
        lines = []
        for name, kind, about, samples in families:
            lines += [f"# HELP xttsreg_{name} {about}", f"# TYPE xttsreg_{name} {kind}"]
            lines += [f"xttsreg_{name}{labels} {value:.15g}" for labels, value in samples]
        return "\n".join(lines) + "\n"
