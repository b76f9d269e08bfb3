"""``kubelb top``: servers and sessions live. Runs in the operator's command.

The main thread shows and listens to the keys; another asks the proxy, so that one that is slow to answer, or does
not, holds up nothing.
"""

from __future__ import annotations

import errno
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

from rich.console import Console, ConsoleDimensions
from rich.live import Live

from kubelb.cli import adminclient
from kubelb.cli.adminclient import AdminFault
from kubelb.cli.figures import length
from kubelb.cli.terminal import Terminal, terminal
from kubelb.cli.top_model import Fit, Look, View, fit, picture, pressed, remember, scrolled
from kubelb.cli.top_view import screen
from kubelb.config.faults import printable

News = Look | AdminFault


def top(runtime_dir: Path, every: float) -> int:
    """Until the operator quits; the exit status. ``every`` is how many seconds pass between two looks."""
    console = Console(highlight=False)
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or console.is_dumb_terminal:
        print(
            "kubelb top: this is no terminal that could show it; try kubelb status, kubelb sessions", file=sys.stderr
        )
        return 1
    try:
        first = _look(runtime_dir)
    except AdminFault as fault:
        print(printable(f"kubelb top: {fault}"), file=sys.stderr)
        return 1
    try:
        with terminal() as taken:
            _watch(runtime_dir, every, console, taken, first)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        # The terminal has been hung up.
        return 1
    return 0


def _watch(runtime_dir: Path, every: float, console: Console, terminal: Terminal, first: Look) -> None:
    watching = _Watching(runtime_dir, every, terminal.nudge)
    show = _Show(console, terminal, watching.news, first)
    threading.Thread(target=watching.run, name="asking", daemon=True).start()
    try:
        while show.go_on():
            terminal.suspend()
    finally:
        watching.stop()


def _look(runtime_dir: Path) -> Look:
    sessions = adminclient.sessions(runtime_dir)
    status = adminclient.status(runtime_dir)
    return Look(time.monotonic(), status, sessions)


class _Watching:
    """Asks again and again, on a thread of its own."""

    def __init__(self, runtime_dir: Path, every: float, nudge: Callable[[], None]) -> None:
        self.news: SimpleQueue[News] = SimpleQueue()
        self._runtime_dir = runtime_dir
        self._every = every
        self._nudge = nudge
        self._stopped = threading.Event()
        self._nudging = threading.Lock()

    def run(self) -> None:
        due = time.monotonic() + self._every
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            began = time.monotonic()
            self.news.put(self._ask())
            with self._nudging:
                if not self._stopped.is_set():
                    self._nudge()
            # A proxy that takes long to tell is left alone for as long.
            due = max(began + self._every, 2 * time.monotonic() - began)

    def _ask(self) -> News:
        try:
            return _look(self._runtime_dir)
        except AdminFault as fault:
            return fault

    def stop(self) -> None:
        """Nudge nobody any more."""
        with self._nudging:
            self._stopped.set()


class _Show:
    """What is on the screen."""

    def __init__(self, console: Console, terminal: Terminal, news: SimpleQueue[News], first: Look) -> None:
        self._console = console
        self._terminal = terminal
        self._news = news
        self._looks: tuple[Look, ...] = (first,)
        self._shown: tuple[Look, ...] = (first,)
        self._picture = picture(self._shown)
        self._fault: AdminFault | None = None
        self._view = View()

    def go_on(self) -> bool:
        """Until the operator quits, or (then it is true) wants it to be suspended."""
        with self._terminal.single_keys(), Live(console=self._console, screen=True, auto_refresh=False) as live:
            while True:
                self._draw(live)
                heard = self._terminal.wait()
                if heard.suspend or heard.stop or "q" in heard.keys:
                    return heard.suspend
                self._hear(heard.keys)

    def _hear(self, keys: Sequence[str]) -> None:
        with suppress(Empty):
            while True:
                self._learn(self._news.get_nowait())
        for key in keys:
            sessions = len(self._picture.sessions)
            self._view = pressed(self._view, key, sessions, self._fit().sessions)
        if not self._view.paused and self._shown is not self._looks:
            self._shown = self._looks
            self._picture = picture(self._shown)

    def _learn(self, news: News) -> None:
        if isinstance(news, AdminFault):
            self._fault = news
        else:
            self._fault = None
            self._looks = remember(self._looks, news)

    def _fit(self) -> Fit:
        _, lines = self._terminal.size()
        return fit(lines, len(self._picture.servers))

    def _draw(self, live: Live) -> None:
        self._console.size = ConsoleDimensions(*self._terminal.size())
        room = self._fit()
        self._view = scrolled(self._view, len(self._picture.sessions), room.sessions)
        live.update(screen(self._picture, self._view, room, self._console.width, self._trouble()), refresh=True)

    def _trouble(self) -> str:
        if self._fault is None:
            return ""
        reason = str(self._fault).partition(": ")[2] or self._fault
        return f"no answer for {length(time.monotonic() - self._looks[-1].at)}: {reason}"
