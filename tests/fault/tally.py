"""How many faults were tried, and how often something was lost: the table of a session."""

from __future__ import annotations

from collections import Counter


class Tally:
    """Counts by operation and kind of fault."""

    def __init__(self) -> None:
        self._tried: Counter[tuple[str, str]] = Counter()
        self._lost: Counter[tuple[str, str]] = Counter()

    def add(self, kind: str, operation: str, *, tried: int, lost: int) -> None:
        """Count faults of one kind."""
        self._tried[kind, operation] += tried
        self._lost[kind, operation] += lost

    def rows(self) -> list[tuple[str, str, int, int]]:
        """Kind, operation, tried, lost: for another process to add."""
        return [(k, o, n, self._lost[k, o]) for (k, o), n in self._tried.items()]

    def lines(self) -> list[str]:
        """The table, with its sum."""
        rows = [("fault", "operation", "tried", "lost")]
        rows += [(k, o, str(n), str(self._lost[k, o])) for (k, o), n in self._tried.items()]
        rows.append(("all", "", str(self._tried.total()), str(self._lost.total())))
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        return [
            f"{k:<{widths[0]}}  {o:<{widths[1]}}  {n:>{widths[2]}}  {lost:>{widths[3]}}"
            for k, o, n, lost in rows
        ]


TALLY = Tally()
