"""A headless Chromium, driven by its debugging protocol. Source: chromedevtools.github.io."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
needs_chromium = pytest.mark.skipif(
    not PROGRAM, reason="needs chromium (Debian: apt-get install chromium)"
)
_KEYS = {"Tab": 9, "Enter": 13}


class Browser:
    """One tab. A context manager.

    Args:
        profile: An empty directory for it.
    """

    def __init__(self, profile: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._count = 0
        self._loop.run_until_complete(self._start(profile))

    async def _start(self, profile: Path) -> None:
        import aiohttp

        assert PROGRAM
        self._process = await asyncio.create_subprocess_exec(
            PROGRAM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--hide-scrollbars", "--mute-audio", "--autoplay-policy=no-user-gesture-required",
            "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank",
            stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert self._process.stderr
        found = None
        while not found:
            line = await asyncio.wait_for(self._process.stderr.readline(), 60)
            assert line, "chromium ended"
            found = re.search(rb"ws://([^/]+)/", line)
        self._session = aiohttp.ClientSession()
        pages: list[dict[str, str]] = []
        while not pages:
            async with self._session.get(f"http://{found[1].decode()}/json") as answer:
                listed = json.loads(await answer.text())
            pages = [page for page in listed if page["type"] == "page"]
        self._socket = await self._session.ws_connect(
            pages[0]["webSocketDebuggerUrl"], max_msg_size=0
        )

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        return self._loop.run_until_complete(self._call(method, params))

    async def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._count += 1
        await self._socket.send_json({"id": self._count, "method": method, "params": params})
        while True:
            told = json.loads((await self._socket.receive(timeout=60)).data)
            if told.get("id") == self._count:
                assert "error" not in told, told
                return dict(told["result"])

    def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are waited for."""
        told = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True,
            userGesture=True,
        )  # fmt: skip
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait(self, script: str, timeout_s: float = 20) -> None:
        """Until an expression is true."""
        end_s = time.monotonic() + timeout_s
        while not self.run(f"Boolean({script})"):
            assert time.monotonic() < end_s, f"never true: {script}\n{self.run('location.href')}"
            time.sleep(0.05)

    def go(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.wait(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def press(self, key: str) -> None:
        for kind in ("rawKeyDown", "char", "keyUp"):
            text = "\r" if (key, kind) == ("Enter", "char") else ""
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, text=text,
                      windowsVirtualKeyCode=_KEYS[key])  # fmt: skip

    def click(self, selector: str) -> None:
        """As a mouse does: on the middle of what is shown."""
        x, y = self.run(
            f"(() => {{ const it = document.querySelector({json.dumps(selector)});"
            "it.scrollIntoView({block: 'center'}); const box = it.getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def look(self, width: int, scheme: str) -> None:
        """Another width of the window, in pixels, and ``light`` or ``dark``."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900,
                  deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
        chosen = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=chosen)

    def screenshot(self, target: Path) -> None:
        told = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        target.write_bytes(base64.b64decode(told["data"]))

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        async def stop() -> None:
            await self._socket.close()
            await self._session.close()
            self._process.terminate()
            await self._process.wait()

        self._loop.run_until_complete(stop())
        self._loop.close()
