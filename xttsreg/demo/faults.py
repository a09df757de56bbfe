"""What a demo hub records of a request, and what it can let go wrong with an answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Stage = Literal["resolve", "lfs", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as it came in. Says whether there were credentials, never which.

    Attributes:
        method: ``GET`` or ``HEAD``.
        path: As sent, query included.
        file: Name of the file in the repository; empty if there is none.
        stage: First address, or the large files' storage.
        port: Where it came in.
        authorized: Whether an Authorization header was there.
        headers: The others, names in lower case.
    """

    method: str
    path: str
    file: str
    stage: Stage
    port: int
    authorized: bool
    headers: dict[str, str]

    @property
    def range(self) -> str | None:
        """The Range header."""
        return self.headers.get("range")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with an answer. Fields left alone change nothing.

    Attributes:
        status: Answer with this status and a short text.
        retry_after: The Retry-After header to go with it.
        body: Send this in place of the file.
        content_type: Say that the body is of this type.
        drop_after_bytes: Close the connection after so many bytes of the body.
        reset: Close it with a TCP reset.
        stall_s: Wait so many seconds after ``drop_after_bytes``, before closing.
        pause_s: Wait so many seconds before each 256 KiB of the body.
        chunked: Send no Content-Length, so that the body's length is not known before.
        ignore_range: Answer 200 and the whole file.
        content_range: Say this in Content-Range.
        headers: Further headers; they replace ours of the same name.
    """

    status: int | None = None
    retry_after: str | None = None
    body: bytes | None = None
    content_type: str | None = None
    drop_after_bytes: int | None = None
    reset: bool = False
    stall_s: float = 0.0
    pause_s: float = 0.0
    chunked: bool = False
    ignore_range: bool = False
    content_range: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
