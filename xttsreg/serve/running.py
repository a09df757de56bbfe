"""Listening, until somebody says stop."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from xttsreg.errors import InvalidInputError, XttsregError
from xttsreg.serve.app import App

BACKLOG = 1024
IDLE_S = 30.0
"""How long a connection may wait before its (next) request is complete."""
STALL_S = 120.0
"""How long a client may take nothing before its connection is cut."""
_STOP_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Where to listen.

    Attributes:
        host: Name or address.
        port: 0 takes a free one.
        certificate: PEM file; with it, TLS.
        key: PEM file of its key, if that is not in the same file.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    certificate: Path | None = None
    key: Path | None = None


def run(app: App, listen: Listen, *, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; what is being sent then has some seconds to end.

    Args:
        app: Answers.
        listen: Where.
        ready: Told the address when it listens.

    Raises:
        XttsregError: it cannot listen there.
        InvalidInputError: certificate and key are no pair.
    """
    context = _tls(listen)
    sockets = _bind(listen.host, listen.port)
    _allow_many_files()
    name, port = sockets[0].getsockname()[:2]
    shown = f"[{name}]" if ":" in name else name
    asyncio.run(_serve(app, sockets, context, lambda: ready(
        f"{'https' if context else 'http'}://{shown}:{port}"
    )))  # fmt: skip


async def _serve(
    app: App,
    sockets: list[socket.socket],
    context: ssl.SSLContext | None,
    ready: Callable[[], None],
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    server = web.Server(app.handle, keepalive_timeout=IDLE_S, access_log=None)
    runner = web.ServerRunner(server, shutdown_timeout=_STOP_S)
    await runner.setup()
    for each in sockets:
        await web.SockSite(runner, each, ssl_context=context, backlog=BACKLOG).start()
    warming = asyncio.create_task(app.keep_warm())
    try:
        ready()
        await stop.wait()
    finally:
        warming.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await warming
        await runner.cleanup()
        app.proofs.close()


def _bind(host: str, port: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            each = socket.socket(family, kind, protocol)
            sockets.append(each)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                # The kernel cuts off who takes nothing; accepted sockets inherit this.
                stall_ms = int(STALL_S * 1000)
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, stall_ms)
            # A free port that was chosen for one address is the port for all of them.
            taken = sockets[0].getsockname()[1] if len(sockets) > 1 else port
            each.bind((address[0], taken, *address[2:]))
    except (OSError, OverflowError) as error:
        for each in sockets:
            each.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise XttsregError(
            f"{host}:{port}: cannot listen there: {reason}",
            hint="give another --port or --host; --port 0 takes a free one",
        ) from None
    return sockets


def _tls(listen: Listen) -> ssl.SSLContext | None:
    if listen.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(listen.certificate, listen.key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInputError(
            f"{listen.certificate}: not a certificate with its key: {error}",
            hint="both in PEM; the key may be in a file of its own (--tls-key)",
        ) from None
    return context


def _allow_many_files() -> None:
    """Each client takes two descriptors; the usual limit of 1024 is for another kind of program."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
