"""``kubelb demo``: three throwaway kube-apiserver stand-ins, the proxy before them, and a live view of both.

Runs in the operator's command. The stand-ins and the proxy are child processes, each in a session of its own,
so that Ctrl-C reaches only this one, which ends them in order. All files are in one temporary directory.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from kubelb.cli import adminclient
from kubelb.cli.demo_view import Picture, View
from kubelb.cli.stopping import Stopping, stop_signals
from kubelb.config.flags_reader import POOL
from kubelb.config.model.config import Admin, Config
from kubelb.config.model.listeners import Listener
from kubelb.config.model.pools import Pool, Server
from kubelb.config.toml.writer import write_toml
from kubelb.config.values import Address, parse_address
from kubelb.control.status import Status
from kubelb.reasons import ValueFault
from kubelb.standin.clients import Traffic
from kubelb.standin.kubeconfig import kubeconfig
from kubelb.standin.process import Standin, StandinFault

_LISTEN = Address("127.0.0.1", 6443)
_WEB = Address("127.0.0.1", 8081)
_STANDINS = {"a": 16443, "b": 16444, "c": 16445}
_VICTIM = "b"
_DEAD_FOR = 5.0
"""Seconds until the killed stand-in is started again."""
_TICK = 0.5
"""Seconds between two looks at the proxy."""
_READY = 15.0
"""Seconds the proxy may take until it answers."""
_STOP = 10.0
"""Seconds it may take to end."""


class DemoFault(Exception):
    """The demonstration cannot go on. The text is one line for the operator."""


def demo(seconds: float | None = None, kill_after: float | None = None, listen: str | None = None) -> int:
    """Until Ctrl-C, TERM or HUP, or for so many ``seconds``; the exit status.

    ``kill_after`` so many seconds one stand-in is killed, and started again a little later. ``listen`` is the
    proxy's ``host:port``; without it 127.0.0.1:6443, or a free port where that is taken.
    """
    try:
        with stop_signals() as stopping:
            _demonstrate(stopping, seconds, kill_after, listen)
    except (DemoFault, StandinFault) as fault:
        print(f"kubelb demo: {fault}", file=sys.stderr)
        return 1
    return 0


def _demonstrate(stopping: Stopping, seconds: float | None, kill_after: float | None, listen: str | None) -> None:
    with ExitStack() as stack:
        view = View()
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="kubelb-demo-")))
        address = _chosen(listen) if listen else _free(_LISTEN, view)
        reached = _reached_at(address)
        authority, certificate = _certificates(directory, reached.host)
        standins = [
            stack.enter_context(Standin(name, certificate, port=_free(Address("127.0.0.1", port)).port))
            for name, port in _STANDINS.items()
        ]
        web = _free(_WEB)
        proxy = _Proxy(_config(address, web, standins), directory)
        stack.enter_context(proxy.running())
        if not proxy.wait_until_ready(stopping):
            return
        _introduce(view, directory, authority, reached, web, standins)
        traffic = stack.enter_context(Traffic(reached.host, reached.port, authority))
        stack.enter_context(view)
        _Show(view, proxy, standins, traffic).go_on(stopping, seconds, kill_after)


def _certificates(directory: Path, host: str) -> tuple[Path, Path]:
    """The files of the authority and of the stand-ins' certificate."""
    try:
        from kubelb.standin import certificates
    except ModuleNotFoundError as missing:
        raise DemoFault(f"{missing.name} is missing; install it: pip install 'kubelb[demo]'") from None
    made = certificates.make(directory, host)
    return made.authority, made.server


def _config(listen: Address, web: Address, standins: Sequence[Standin]) -> Config:
    pool = Pool(servers=tuple(Server(address=Address(standin.host, standin.port)) for standin in standins))
    return Config(listeners=(Listener(listen=(listen,), pool=POOL),), pools={POOL: pool}, admin=Admin(listen=web))


def _introduce(
    view: View, directory: Path, authority: Path, reached: Address, web: Address, standins: Sequence[Standin]
) -> None:
    url = f"https://{reached}"
    config = directory / "kubeconfig"
    config.write_text(kubeconfig(url, authority.read_bytes()))
    where = ", ".join(f"{standin.name} at {standin.address}" for standin in standins)
    view.say(f"kubelb is at {url}; behind it are three kube-apiserver stand-ins: {where}")
    view.say(f"Its status page: http://{web}/")
    view.say("Try, in another terminal:")
    view.say(f"  kubectl --kubeconfig {config} version")
    view.say(f"  kubectl --kubeconfig {config} get namespaces --watch")
    view.say(f"  curl --include --cacert {authority} {url}/readyz")
    view.say(f"  kubelb status --runtime-dir {directory}")
    view.say(f"  kubelb drain {standins[2].address} --runtime-dir {directory}")
    view.say(f"  kill -9 {standins[0].pid}   (stand-in {standins[0].name})")
    view.say("The demonstration's own clients make some traffic: 4 that ask, 3 that watch. Ctrl-C ends everything.")


@dataclass
class _Show:
    """What happens while it runs."""

    view: View
    proxy: _Proxy
    standins: Sequence[Standin]
    traffic: Traffic

    def go_on(self, stopping: Stopping, seconds: float | None, kill_after: float | None) -> None:
        began = time.monotonic()
        accidents = self._accidents(kill_after)
        elapsed = 0.0
        while seconds is None or elapsed < seconds:
            while accidents and accidents[0][0] <= elapsed:
                self._suffer(*accidents.pop(0))
            self.view.show(Picture(elapsed, self.proxy.status(), self.standins, self.traffic.tally()))
            if stopping.wait(_TICK if seconds is None else min(_TICK, seconds - elapsed)):
                break
            elapsed = time.monotonic() - began
        self.view.show(Picture(elapsed, self.proxy.status(), self.standins, self.traffic.tally()))

    def _accidents(self, kill_after: float | None) -> list[tuple[float, bool]]:
        """When the victim is killed, and when it is brought back."""
        return [] if kill_after is None else [(kill_after, True), (kill_after + _DEAD_FOR, False)]

    def _suffer(self, at: float, death: bool) -> None:
        victim = next(standin for standin in self.standins if standin.name == _VICTIM)
        if death:
            victim.kill()
            self.view.say(
                f"{at:.0f} s: stand-in {_VICTIM} is killed: its connections are cut and its port is refused; "
                "whoever comes now is served by the others"
            )
        else:
            victim.stop()
            victim.start()
            self.view.say(
                f"{at:.0f} s: stand-in {_VICTIM} is back; it gets sessions again as soon as its probe passes"
            )


class _Proxy:
    """``kubelb run`` as a child process."""

    def __init__(self, config: Config, directory: Path) -> None:
        self._directory = directory
        self._log = directory / "kubelb.log"
        file = directory / "kubelb.toml"
        file.write_text(write_toml(config))
        self._command = [
            sys.executable,
            "-m",
            "kubelb",
            "run",
            "--config",
            str(file),
            "--runtime-dir",
            str(directory),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._process = process
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(_STOP)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def wait_until_ready(self, stopping: Stopping) -> bool:
        """False when told to stop meanwhile."""
        deadline = time.monotonic() + _READY
        while True:
            try:
                adminclient.status(self._directory)
                return True
            except adminclient.AdminFault as fault:
                self._check()
                if time.monotonic() > deadline:
                    raise DemoFault(f"the proxy did not get ready: {fault}") from None
            if stopping.wait(0.05):
                return False

    def status(self) -> Status:
        try:
            return adminclient.status(self._directory)
        except adminclient.AdminFault as fault:
            self._check()
            raise DemoFault(f"the proxy does not answer: {fault}") from None

    def _check(self) -> None:
        assert self._process is not None
        # A process about to end closes its sockets a moment before.
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = self._process.wait(0.2)
            lines = self._log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
            raise DemoFault(f"the proxy ended with status {status}: {lines[-1]}")


def _chosen(listen: str) -> Address:
    try:
        return parse_address(listen)
    except ValueFault as error:
        raise DemoFault(str(error)) from None


def _free(preferred: Address, view: View | None = None) -> Address:
    """``preferred`` if it can be had, else the same host with a free port, which ``view`` says."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((preferred.host, preferred.port))
            return preferred
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
        probe.bind((preferred.host, 0))
        found = Address(preferred.host, probe.getsockname()[1])
    if view:
        view.say(f"{preferred} is taken; kubelb takes {found}")
    return found


def _reached_at(listen: Address) -> Address:
    """Where a client on this machine finds what listens there."""
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    return Address(loopback.get(listen.host, listen.host), listen.port)
