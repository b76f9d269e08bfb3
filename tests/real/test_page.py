"""The status page of the real proxy in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest

from kubelb.cli import adminclient
from kubelb.config.model.config import Admin
from kubelb.config.model.pools import Health
from kubelb.config.values import Address, Duration
from kubelb.control.commands import Drain
from kubelb.snapshot import SocketAddress
from tests.support.browser import Browser, browsing
from tests.support.eventually import eventually
from tests.support.identity import keep, name_of
from tests.support.proxy import EchoServers, a_config, reserved, running
from tests.support.side import Side

HEALTH = Health(probe="tcp", interval=Duration(0.2), timeout=Duration(0.5))
PHONE = (360, 740)
DESK = (1280, 800)


pytestmark = pytest.mark.debian("chromium", "chromium-driver")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("browser")) as found:
        yield found


@contextmanager
def a_page(directory: Path, *servers: SocketAddress) -> Iterator[Side]:
    """A proxy that probes its servers, and whose page they can be seen on."""
    with ExitStack() as stack:
        listen, web = (stack.enter_context(reserved()) for _ in range(2))
        config = a_config(listen, servers, admin=Admin(listen=Address(*web)))
        pools = {name: msgspec.structs.replace(pool, health=HEALTH) for name, pool in config.pools.items()}
        config = msgspec.structs.replace(config, pools=pools)
        yield Side(stack.enter_context(running(directory, config=config)), web)


def url(side: Side) -> str:
    return f"http://{Address(*side.address)}/"


def states(browser: Browser) -> list[str]:
    return browser.texts("td .state")


def silence(browser: Browser) -> str:
    """What the page says of a proxy that does not answer; empty: nothing."""
    return "".join(browser.texts("#silence:not([hidden])"))


def test_the_first_view_is_whole(tmp_path: Path) -> None:
    with EchoServers(["127.0.0.1", "127.0.0.2"]) as servers, a_page(tmp_path, *servers.addresses) as side:
        eventually(lambda: {server.state for server in side.proxy.servers()} == {"up"}, "both are up")
        client, _ = keep(side.proxy.address)
        with client:
            page = side.get("/")
        assert (page.code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert "<b>1</b>" in page.body
        for address in servers.addresses:
            assert f"<bdi>{name_of(address)}</bdi>" in page.body
        assert "2 up of 2 servers" in page.body
        head = side.get("/", "HEAD")
        assert (head.code, head.body) == (200, "")


def test_without_javascript_it_is_read_and_loaded_anew(tmp_path: Path, browser: Browser) -> None:
    with EchoServers(["127.0.0.1"]) as servers, a_page(tmp_path, *servers.addresses) as side:
        browser.devtools("Emulation.setScriptExecutionDisabled", {"value": True})
        try:
            browser.open(url(side))
            eventually(lambda: states(browser) == ["up"], "it is loaded anew until the server is up")
            adminclient.command(side.proxy.runtime_dir, Drain(name_of(servers.addresses[0])))
            eventually(lambda: states(browser) == ["draining"], "it is loaded anew")
            assert any("every five seconds" in text for text in browser.texts("footer"))
        finally:
            browser.devtools("Emulation.setScriptExecutionDisabled", {"value": False})


def test_it_is_live_until_the_proxy_is_gone(tmp_path: Path, browser: Browser) -> None:
    with ExitStack() as stack:
        stays = stack.enter_context(EchoServers(["127.0.0.1"])).addresses[0]
        dies = stack.enter_context(ExitStack())
        (victim,) = dies.enter_context(EchoServers(["127.0.0.2"])).addresses
        side = stack.enter_context(a_page(tmp_path, stays, victim))
        # The page of another test may have something to complain about.
        browser.open("about:blank")
        browser.complaints()
        browser.open(url(side))
        browser.evaluate("window.untouched = true")
        eventually(lambda: states(browser) == ["up", "up"], "both are up")
        client, _ = keep(side.proxy.address)
        with client:
            eventually(lambda: browser.texts("dd")[0] == "1", "there is a client")
        dies.close()
        eventually(lambda: states(browser) == ["up", "down"], "it shows that the server has gone down")
        assert "connection refused" in browser.texts("tr.down")[0]
        assert browser.texts(".verdict") == ["1 down of 2 servers"]
        assert browser.evaluate("document.title") == "1 down of 2 servers · kubelb"
        eventually(lambda: browser.evaluate("document.querySelectorAll('.history path').length") == 6, "history")
        assert browser.complaints() == []
        assert silence(browser) == ""
        assert side.proxy.end() == 0
        eventually(lambda: silence(browser).startswith("No answer since "), "it says so")
        assert browser.evaluate("document.title") == "No answer · kubelb"
        assert browser.evaluate("window.untouched") is True


def test_it_goes_on_once_the_proxy_answers_again(tmp_path: Path, browser: Browser) -> None:
    with EchoServers(["127.0.0.1"]) as servers, a_page(tmp_path, *servers.addresses) as side:
        browser.open(url(side))
        control = side.proxy.control()
        control.suspend()
        try:
            eventually(lambda: silence(browser), "nobody answers")
        finally:
            control.resume()
        eventually(lambda: silence(browser) == "", "it is answered again")
        assert browser.evaluate("document.body.className") == ""


def test_a_hidden_page_asks_for_nothing(tmp_path: Path, browser: Browser) -> None:
    with EchoServers(["127.0.0.1"]) as servers, a_page(tmp_path, *servers.addresses) as side:
        browser.open(url(side))
        asked = "performance.getEntriesByType('resource').filter(e => e.name.endsWith('/fragment')).length"
        clock = "performance.now()"
        eventually(lambda: browser.evaluate(asked) >= 2, "it asks again and again")
        hide(browser, True)
        before, began = browser.evaluate(asked), browser.evaluate(clock)
        eventually(lambda: browser.evaluate(clock) > began + 2500, "it would have asked twice")
        # One may have been under way.
        assert browser.evaluate(asked) <= before + 1
        hide(browser, False)
        eventually(lambda: browser.evaluate(asked) > before + 2, "it goes on")


def hide(browser: Browser, hidden: bool) -> None:
    """Have the page believe that its tab is, or is no more, behind another."""
    value = "true" if hidden else "false"
    browser.evaluate(f"!Object.defineProperty(document, 'hidden', {{value: {value}, configurable: true}})")
    browser.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_it_fits_and_can_be_read(tmp_path: Path, browser: Browser, size: tuple[int, int], scheme: str) -> None:
    """By the contrast that WCAG 2.2 asks for (1.4.3)."""
    with EchoServers(["127.0.0.1", "::1"]) as servers, a_page(tmp_path, *servers.addresses) as side:
        browser.emulate(*size, scheme)
        browser.open(url(side))
        eventually(lambda: states(browser) == ["up", "up"], "both are up")
        assert browser.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
        assert browser.evaluate("innerWidth") == size[0]
        ground, ink = (
            luminance(browser, "document.body", "backgroundColor"),
            luminance(browser, "document.body", "color"),
        )
        assert (ground > ink) == (scheme == "light")
        card = luminance(browser, "document.querySelector('th[scope=row]').closest('table, tr')", "backgroundColor")
        for selector in (".about", ".more", ".since", "td .state", "dt"):
            text = luminance(browser, f"document.querySelector('{selector}')", "color")
            for behind in (ground, card):
                assert contrast(text, behind) >= 4.5, selector
        # Cards on a phone, a table elsewhere; for who cannot see it a table either way.
        assert (browser.evaluate("getComputedStyle(document.querySelector('tbody')).display") == "grid") == (
            size == PHONE
        )
        assert browser.evaluate("document.querySelectorAll('[role=row] > [role=cell]').length") == 12


def luminance(browser: Browser, element: str, which: str) -> float:
    """Relative luminance (WCAG 2.2) of a colour; one that is clear counts as the ground of the page."""
    colour = browser.evaluate(f"getComputedStyle({element}).{which}")
    parts = [float(part) for part in colour[colour.index("(") + 1 : -1].split(",")]
    if len(parts) == 4 and parts[3] == 0:
        return luminance(browser, "document.body", "backgroundColor")
    shares = [part / 255 for part in parts[:3]]
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)
