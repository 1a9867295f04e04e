"""A real browser without a window, spoken to by the DevTools protocol: what a page asks for, says and shows."""

import asyncio
import base64
import itertools
import json
import shutil
import subprocess
import time
from contextlib import contextmanager

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-port=0",
)  # fmt: skip


@contextmanager
def chromium(folder):
    """The address of a browser, which ends with the block."""
    command = [CHROMIUM, *_FLAGS, f"--user-data-dir={folder}", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            port, until = folder / "DevToolsActivePort", time.monotonic() + 60
            while not (port.exists() and len(port.read_text().split()) == 2):
                assert time.monotonic() < until, "the browser did not start"
                time.sleep(0.05)
            yield int(port.read_text().split()[0])
        finally:
            process.kill()


class Page:
    """One tab: the requests it made, what its console said, and questions to it."""

    def __init__(self, socket):
        self._socket, self._numbers = socket, itertools.count(1)
        self.requests, self.said = [], []

    async def ask(self, method, **params):
        """The result of a command; events meanwhile are kept."""
        number = next(self._numbers)
        await self._socket.write_message(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(await self._socket.read_message())
            self._note(message)
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    def _note(self, message):
        method, params = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.said.append(params)

    async def value(self, expression):
        """The value of an expression of JavaScript."""
        result = await self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def open(self, path, width=1100, height=900, dark=False):
        """Show a file in a window of this width."""
        await self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.ask("Emulation.setEmulatedMedia", features=[scheme])
        await self.ask("Page.navigate", url=path.absolute().as_uri())
        for _ in range(200):
            state = "document.readyState === 'complete' && location.protocol === 'file:'"
            if await self.value(state):
                return
            await asyncio.sleep(0.05)
        raise AssertionError("the page was not loaded")

    async def press(self, key, code):
        """Press and let go a key."""
        for kind in ("keyDown", "keyUp"):
            await self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    async def picture(self, path):
        """Save the whole page as PNG."""
        shot = await self.ask("Page.captureScreenshot", captureBeyondViewport=False)
        path.write_bytes(base64.b64decode(shot["data"]))

    async def printed(self, path):
        """Save the page as PDF."""
        path.write_bytes(base64.b64decode((await self.ask("Page.printToPDF", printBackground=True))["data"]))


async def _with_page(port, work):
    from tornado.httpclient import AsyncHTTPClient
    from tornado.websocket import websocket_connect

    listed = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/json/list")
    target = next(one for one in json.loads(listed.body) if one["type"] == "page")
    socket = await websocket_connect(target["webSocketDebuggerUrl"], max_message_size=1 << 28)
    page = Page(socket)
    for domain in ("Page", "Runtime", "Log", "Network"):
        await page.ask(f"{domain}.enable")
    await work(page)
    socket.close()


def visit(port, work):
    """Let `work` (a coroutine function) use a tab of the browser."""
    asyncio.run(_with_page(port, work))
