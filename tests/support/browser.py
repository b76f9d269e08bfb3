"""Debian's chromium for a test, without a window, over the W3C's WebDriver protocol (w3.org/TR/webdriver2).

chromedriver is a child that takes a port of the kernel's choice and says which; the browser is its child, with an
empty profile of its own. Nothing of it speaks to anything but what it is told to open.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.support import debian

_DEADLINE = 60.0
"""Seconds that the browser may take for anything."""
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)


class Browser:
    """One window. For one thread."""

    def __init__(self, port: int, session: str) -> None:
        self._port = port
        self._session = f"/session/{session}"

    def open(self, url: str) -> None:
        """Returns once it is loaded."""
        self._post("/url", url=url)

    def evaluate(self, expression: str) -> Any:
        """The value of JavaScript in the page, as JSON knows it."""
        return self._post("/execute/sync", script=f"return {expression}", args=[])

    def texts(self, selector: str) -> list[str]:
        """What is to be read in the elements that a CSS selector finds, with single spaces."""
        found = self.evaluate(f"Array.from(document.querySelectorAll({json.dumps(selector)}), e => e.innerText)")
        return [" ".join(text.split()) for text in found]

    def complaints(self) -> list[str]:
        """The warnings and errors of the console since the last time: breaches of a policy too."""
        return [entry["message"] for entry in self._post("/se/log", type="browser")]

    def emulate(self, width: int, height: int, scheme: str = "light") -> None:
        """A screen of so many CSS pixels, and what the user prefers: ``light`` or ``dark``."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.devtools("Emulation.setEmulatedMedia", {"features": [feature]})

    def devtools(self, command: str, parameters: dict[str, Any]) -> Any:
        """A command of the DevTools protocol (chromedevtools.github.io/devtools-protocol)."""
        return self._post("/goog/cdp/execute", cmd=command, params=parameters)

    def picture(self) -> bytes:
        """A PNG of what is seen."""
        return base64.b64decode(_request(self._port, "GET", f"{self._session}/screenshot"))

    def _post(self, path: str, **parameters: Any) -> Any:
        return _request(self._port, "POST", self._session + path, parameters)


@contextmanager
def browsing(directory: Path) -> Iterator[Browser]:
    """A browser with its profile in ``directory``; it has ended afterwards."""
    driver, chromium = debian.provided("chromedriver"), debian.provided("chromium")
    flags = [*_FLAGS, f"--user-data-dir={directory / 'chromium'}"]
    wanted = {
        "browserName": "chrome",
        "goog:chromeOptions": {"binary": chromium, "args": flags},
        "goog:loggingPrefs": {"browser": "WARNING"},
    }
    with subprocess.Popen(
        [driver, "--port=0"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            port = _port_of(process)
            session = _request(port, "POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
            try:
                yield Browser(port, session)
            finally:
                _request(port, "DELETE", f"/session/{session}")
        finally:
            process.terminate()


def _port_of(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if found := re.search(r"started successfully on port (\d+)", line):
            return int(found[1])
    raise AssertionError(f"chromedriver did not start: {said}")


def _request(port: int, method: str, path: str, parameters: dict[str, Any] | None = None) -> Any:
    """The value of a WebDriver answer. Raises :class:`AssertionError` with what went wrong."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_DEADLINE)) as connection:
        body = json.dumps(parameters or {}) if method == "POST" else None
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        value = json.loads(response.read())["value"]
        assert response.status == 200, value
        return value
