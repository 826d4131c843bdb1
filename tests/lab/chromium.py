"""A real browser, driven over its debugging protocol: open, ask, type, see whom it asked."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
import websocket  # type: ignore[import-untyped]

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--remote-allow-origins=*",
    "--window-size=1400,1000",
)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(what: str, ask: Any, *, seconds: float = 60.0) -> Any:
    """The first answer of `ask` that is true; fails with `what` was waited for."""
    end, answer = time.monotonic() + seconds, None
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if answer := ask():
                return answer
        time.sleep(0.2)
    pytest.fail(f"{what}: still {answer!r} after {seconds:.0f} s")


class Page:
    """One tab."""

    def __init__(self, address: str) -> None:
        self._socket = websocket.create_connection(address, timeout=60)
        self._number = 0
        self.hosts: set[str] = set()
        self.send("Network.enable")
        self.send("Page.enable")

    def send(self, method: str, **given: Any) -> Any:
        """Call a method of the protocol; what the page asks for meanwhile is noted."""
        self._number += 1
        number = self._number
        self._socket.send(json.dumps({"id": number, "method": method, "params": given}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("method") == "Network.requestWillBeSent":
                host = urlparse(message["params"]["request"]["url"]).hostname
                self.hosts |= {host} if host else set()
            if message.get("id") == number:
                assert "error" not in message, message["error"]
                return message["result"]

    def ask(self, script: str) -> Any:
        """The value of a piece of JavaScript; a promise is waited for."""
        answer = self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str, *, code: int) -> None:
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code)

    def picture(self, path: Path) -> None:
        import base64

        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))


@contextlib.contextmanager
def opened(url: str, profile: Path) -> Iterator[Page]:
    """A page in a browser of its own; skips where there is no browser."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine to look at the page with")
    port = free_port()
    process = subprocess.Popen(
        [browser, *_FLAGS, f"--remote-debugging-port={port}", f"--user-data-dir={profile}", url],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def target() -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=5) as answer:
            pages = [t for t in json.load(answer) if t["type"] == "page"]
        return pages[0]["webSocketDebuggerUrl"] if pages else None

    try:
        yield Page(wait_for("the browser to start", target))
    finally:
        process.kill()
        process.wait()
