"""What is done to the proxy and its servers while the load runs.

The deeds of the operator and of bad luck come one at a time, each waited for; servers die and return beside them,
on a thread of their own, at most one at a time.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType

import psutil

from kubelb.cli import adminclient
from kubelb.config.values import Duration
from tests.soak.holdings import processes
from tests.soak.journal import Journal
from tests.soak.shortages import any_injection, injected, stopped
from tests.support.descriptors import no_more_descriptors
from tests.support.eventually import eventually
from tests.support.load.faults import WorkerShort
from tests.support.load.stage import SERVERS, Stage, clients_of, kill_worker
from tests.support.proxy import gone

_MEMBERS = [(0, 1), (1, 2), (0, 2), (0, 1, 2)]
"""Two or more, so that there is one left when a server dies."""
_WORKERS = [1, 2, 3]
_PATIENCE = 30.0
"""Seconds that a deed may take until it is done."""
_SHORTAGE = 1.5
"""Seconds that something is withheld for, at least."""
_PAUSE = 5.0
"""Seconds for which a worker stands still, or nobody reads the log, at most."""
_UPGRADE = 0.8
"""Seconds that an upgrade takes, about."""


class Deeds:
    """After each the proxy is whole again: one supervisor, control that answers, the workers, and nobody else."""

    def __init__(self, stage: Stage, mark: str, journal: Journal, chance: random.Random) -> None:
        """``mark``: of the proxy's processes."""
        self._stage = stage
        self._proxy = stage.proxy
        self._mark = mark
        self._journal = journal
        self._chance = chance
        self._workers = self._base_workers = len(self._proxy.workers())
        self._deeds: dict[Callable[[], None], int] = {
            self.reload: 4,
            self.signal_reload: 2,
            self.upgrade: 2,
            self.signal_upgrade: 2,
            self.upgrade_amid_reloads: 1,
            self.kill_worker: 2,
            self.kill_control: 2,
            self.kill_amid_upgrade: 3,
            self.kill_new_supervisor: 1,
            self.withhold_descriptors: 3,
            self.inject_into_worker: 6,
            self.inject_into_control: 3,
            self.inject_into_supervisor: 3,
            self.stop_worker: 1,
            self.stop_control: 1,
            self.leave_log_unread: 1,
        }
        """With how often they come, relative to each other."""
        self._notes: list[str] = []
        """Of the deed under way, what exactly it is."""

    def do_one(self) -> None:
        """Any."""
        (deed,) = self._chance.choices(list(self._deeds), list(self._deeds.values()))
        self._do(deed)

    def back_to_base(self) -> None:
        """The configuration the proxy began with."""
        self._do(self.reload_base)

    def _do(self, deed: Callable[[], None]) -> None:
        name = deed.__name__.replace("_", " ")
        with self._journal.doing(name) as self._notes:
            try:
                deed()
                eventually(self._is_whole, "the proxy is whole", _PATIENCE)
            except (AssertionError, adminclient.AdminFault, psutil.Error) as error:
                self._journal.find(f"{name} {self._notes}: {error!r}; there are {self._family()}")

    def _is_whole(self, workers: Sequence[int] = ()) -> bool:
        """With so many workers, or as many as the file says."""
        try:
            family = {self._proxy.supervisor, *self._proxy.children()}
            is_full = len(family) - 2 in (workers or [self._workers])
            return is_full and set(self._family()) == family and bool(self._proxy.status())
        except (adminclient.AdminFault, psutil.NoSuchProcess):
            return False

    def _family(self) -> list[psutil.Process]:
        return processes(self._mark)

    def _write(self) -> None:
        """Members, workers, addresses, timeouts and the way to pick change."""
        self._workers = self._chance.choice(_WORKERS)
        self._stage.write(
            self._chance.choice(_MEMBERS),
            workers=self._workers,
            spare=self._chance.choice([False, True]),
            connect_timeout=self._chance.choice(_WORKERS),
            user_timeout=Duration(self._chance.choice([8, 10, 12])),
            balance=self._chance.choice(["least_conn", "round_robin", "random_two"]),
        )

    def reload(self) -> None:
        self._write()
        adminclient.reload(self._proxy.runtime_dir)

    def signal_reload(self) -> None:
        self._write()
        self._proxy.supervisor.send_signal(signal.SIGHUP)

    def reload_base(self) -> None:
        self._workers = self._base_workers
        self._stage.write()
        adminclient.reload(self._proxy.runtime_dir)

    def upgrade(self) -> None:
        old = self._proxy.supervisor
        self._proxy.upgrade()
        eventually(lambda: gone(old), "the old supervisor has gone", _PATIENCE)

    def signal_upgrade(self) -> None:
        old = self._proxy.supervisor
        old.send_signal(signal.SIGUSR2)
        eventually(lambda: gone(old), "the old supervisor has gone", _PATIENCE)

    def upgrade_amid_reloads(self) -> None:
        """The last reload counts, whoever hears of it."""
        old = self._proxy.supervisor
        self._write()
        old.send_signal(signal.SIGHUP)
        old.send_signal(signal.SIGUSR2)
        old.send_signal(signal.SIGHUP)
        eventually(lambda: gone(old), "the old supervisor has gone", _PATIENCE)

    def kill_worker(self) -> None:
        self._kill(self._chance.choice(self._proxy.workers()))

    def kill_control(self) -> None:
        self._kill(self._proxy.control())

    def _kill(self, victim: psutil.Process) -> None:
        """A worker, whose clients it takes along, or another child, that has none."""
        self._journal.faults.append(kill_worker(victim, self._proxy.address[1]))

    def kill_amid_upgrade(self) -> None:
        """A child of the old supervisor or of the new one."""
        self._proxy.supervisor.send_signal(signal.SIGUSR2)
        time.sleep(self._chance.uniform(0, _UPGRADE))
        family = self._family()
        children = [process for process in family if _parent(process) in family]
        if children:
            with suppress(psutil.NoSuchProcess):
                self._kill(self._chance.choice(children))

    def kill_new_supervisor(self) -> None:
        """Before it serves: the old one goes on."""
        old = self._proxy.supervisor
        old.send_signal(signal.SIGUSR2)
        time.sleep(self._chance.uniform(0, _UPGRADE))
        family = self._family()
        for process in family:
            if process != old and _parent(process) not in family and self._proxy.pid == old.pid:
                with suppress(psutil.NoSuchProcess):
                    process.kill()

    def withhold_descriptors(self) -> None:
        """From any process."""
        victim = self._chance.choice([*self._proxy.workers(), self._proxy.control(), self._proxy.supervisor])
        with self._short(victim, "descriptors"), no_more_descriptors(victim):
            self._meanwhile(victim)

    def inject_into_worker(self) -> None:
        self._inject(self._chance.choice(self._proxy.workers()))

    def inject_into_control(self) -> None:
        self._inject(self._proxy.control())

    def inject_into_supervisor(self) -> None:
        self._inject(self._proxy.supervisor)

    def _inject(self, victim: psutil.Process) -> None:
        injection = any_injection(self._chance)
        with self._short(victim, str(injection)), injected(victim, injection):
            self._meanwhile(victim)

    @contextmanager
    def _short(self, victim: psutil.Process, what: str) -> Iterator[None]:
        """Within, something is withheld from it, and from what it starts. A worker's clients may feel that, and those
        of workers that the supervisor starts meanwhile; nobody else."""
        since, is_worker = time.monotonic(), victim in self._proxy.workers()
        ports = clients_of(victim, self._proxy.address[1]) if is_worker else frozenset[int]()
        starts_workers = victim == self._proxy.supervisor
        self._notes.append(f"{what}, in {'worker' if is_worker else 'control or supervisor'} {victim.pid}")
        yield
        if is_worker or starts_workers:
            self._journal.faults.append(WorkerShort(since, time.monotonic(), ports))
        # Whether a reload has been gone by is not known.
        eventually(lambda: self._is_whole(_WORKERS), "the proxy is whole again", _PATIENCE)
        self.reload()

    def _meanwhile(self, victim: psutil.Process) -> None:
        """A reload, an upgrade, or nothing, while something is withheld: it may fail."""
        is_worker = victim in self._proxy.workers()
        time.sleep(_SHORTAGE / 2)
        happens = self._chance.choice(["nothing", "upgrade"] if is_worker else ["nothing", "reload", "upgrade"])
        self._notes.append(f"meanwhile {happens}")
        if happens == "reload":
            with suppress(adminclient.AdminFault):
                self.reload()
        elif happens == "upgrade":
            self._proxy.supervisor.send_signal(signal.SIGUSR2)
        time.sleep(_SHORTAGE / 2)

    def stop_worker(self) -> None:
        """It goes on before anybody takes it for hung."""
        with stopped(self._chance.choice(self._proxy.workers())):
            time.sleep(self._chance.uniform(1, _PAUSE))

    def stop_control(self) -> None:
        """Another takes its place."""
        control = self._proxy.control()
        with stopped(control):
            eventually(lambda: gone(control), "control has been replaced", _PATIENCE)

    def leave_log_unread(self) -> None:
        with self._proxy.log.unread():
            time.sleep(self._chance.uniform(1, _PAUSE))


def _parent(process: psutil.Process) -> psutil.Process | None:
    """None: it has none, or has ended."""
    with suppress(psutil.NoSuchProcess):
        return process.parent()
    return None


class Flaps:
    """Within, servers die and return; by the end all are there."""

    def __init__(self, stage: Stage, journal: Journal, chance: random.Random) -> None:
        self._stage = stage
        self._journal = journal
        self._chance = chance
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flaps")

    def __enter__(self) -> Flaps:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._chance.uniform(1, 5)):
            victim = self._chance.randrange(SERVERS)
            with self._journal.doing("kill server"):
                with self._journal.lock:
                    self._journal.faults.append(self._stage.servers.kill(victim))
                self._over.wait(self._chance.uniform(0.05, 2))
                self._stage.servers.start(victim)
