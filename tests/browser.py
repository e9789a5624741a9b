"""A real headless Chromium for tests, driven over its DevTools protocol.

    with chromium(tmp_path) as address:                 # one for many pages
        async with page(address, "http://127.0.0.1:8780/", phone=True) as shown:
            await shown.until("document.title === 'candled'")

A page keeps what it complained of: console errors, uncaught exceptions, violations of its policy.
Tests that need it skip where there is no Chromium.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

_BINARY = shutil.which("chromium") or shutil.which("chromium-browser")
_START_S = 30.0
_ANSWER_S = 20.0

needs_chromium = pytest.mark.skipif(_BINARY is None, reason="Chromium is not installed")


@contextmanager
def chromium(folder: Path) -> Iterator[str]:
    """Start one with a profile in `folder`; yield the address of its DevTools; leave nothing."""
    profile = folder / "profile"
    child = subprocess.Popen(
        [
            str(_BINARY), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--mute-audio", "--disable-background-networking", "--disable-component-update",
            "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-port=0",
            f"--user-data-dir={profile}", "about:blank",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield _address(child, profile / "DevToolsActivePort")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _address(child: subprocess.Popen[bytes], file: Path) -> str:
    deadline = time.monotonic() + _START_S
    while not (file.exists() and len(said := file.read_text().split()) == 2):
        assert child.poll() is None, "Chromium ended"
        assert time.monotonic() < deadline, "Chromium does not say its port"
        time.sleep(0.02)
    return f"ws://127.0.0.1:{said[0]}{said[1]}"


class Page:
    """One page; `complaints` is what it should never have said."""

    def __init__(self, connection: ClientConnection) -> None:
        self.complaints: list[str] = []
        self._connection = connection
        self._numbers = count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.session: str | None = None

    async def listen(self) -> None:
        """Take what the browser says, until it is gone."""
        async for text in self._connection:
            said = json.loads(text)
            if "id" in said:
                if not (waiting := self._answers.pop(said["id"])).done():
                    waiting.set_result(said)
            elif complaint := _complaint(said["method"], said["params"]):
                self.complaints.append(complaint)

    async def ask(self, method: str, **params: object) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        number = next(self._numbers)
        future = self._answers[number] = asyncio.get_running_loop().create_future()
        request = {"id": number, "method": method, "params": params}
        if self.session:
            request["sessionId"] = self.session
        await self._connection.send(json.dumps(request))
        answer = await asyncio.wait_for(future, _ANSWER_S)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    async def run(self, script: str) -> Any:
        """Return the value of an expression in the page, awaited."""
        said = await self.ask(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in said, f"{script}: {said['exceptionDetails']}"
        return said["result"].get("value")

    async def until(self, script: str, seconds: float = 10.0) -> Any:
        """Wait until an expression holds; return its value, or fail after `seconds`."""
        deadline = time.monotonic() + seconds
        while not (value := await self.run(script)):
            seen = "document.body.innerText.slice(0, 1500)"
            assert time.monotonic() < deadline, (
                f"not within {seconds} s: {script}\n{self.complaints}\n{await self.run(seen)}"
            )
            await asyncio.sleep(0.02)
        return value

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other, as a person does."""
        for key in keys:
            text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
            code = {"Enter": 13, "Escape": 27, "Tab": 9, "ArrowUp": 38, "ArrowDown": 40}.get(key, 0)
            event = {"key": key, "windowsVirtualKeyCode": code}
            await self.ask("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
            await self.ask("Input.dispatchKeyEvent", type="keyUp", **event)

    async def theme(self, scheme: str) -> None:
        """Have the system prefer ``light`` or ``dark``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.ask("Emulation.setEmulatedMedia", features=features)

    async def names(self) -> list[tuple[str, str]]:
        """Return role and name of everything in the accessibility tree."""
        tree = await self.ask("Accessibility.getFullAXTree")
        nodes = [node for node in tree["nodes"] if not node["ignored"]]
        return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes]

    async def picture(self) -> bytes:
        """Return what is seen, as PNG."""
        shot = await self.ask("Page.captureScreenshot", format="png", optimizeForSpeed=False)
        return base64.b64decode(shot["data"])


def _complaint(method: str, params: dict[str, Any]) -> str | None:
    if method == "Runtime.exceptionThrown":
        return f"uncaught: {params['exceptionDetails']}"
    if method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
        return f"console: {params['args']}"
    if method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
        return f"log: {params['entry']['text']} {params['entry'].get('url', '')}"
    return None


@asynccontextmanager
async def page(
    address: str,
    url: str,
    *,
    phone: bool = False,
    size: tuple[int, int] | None = None,
    scale: float = 1,
) -> AsyncIterator[Page]:
    """Open `url` in a context of its own: nothing is shared with other pages, nothing is kept."""
    width, height = size or ((360, 740) if phone else (1440, 900))
    async with connect(address, max_size=2**28) as connection:
        shown = Page(connection)
        listening = asyncio.create_task(shown.listen())
        try:
            context = (await shown.ask("Target.createBrowserContext"))["browserContextId"]
            target = await shown.ask(
                "Target.createTarget", url="about:blank", browserContextId=context
            )
            attached = await shown.ask(
                "Target.attachToTarget", targetId=target["targetId"], flatten=True
            )
            shown.session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Accessibility"):
                await shown.ask(f"{domain}.enable")
            await shown.ask(
                "Emulation.setDeviceMetricsOverride",
                width=width, height=height, deviceScaleFactor=scale, mobile=phone,
            )  # fmt: skip
            await shown.ask("Page.navigate", url=url)
            yield shown
        finally:
            if not listening.done():
                shown.session = None
                await shown.ask("Target.disposeBrowserContext", browserContextId=context)
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
