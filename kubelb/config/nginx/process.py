"""nginx's main context and ``events {}`` into how the processes run; pure.

``ngx_core_commands`` (src/core/nginx.c) and ``ngx_event_core_commands`` (src/event/ngx_event.c) are the source, nginx
1.22.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from typing import Any

from kubelb.config.model.config import RUNTIME_DIR, Process
from kubelb.config.nginx.directives import HARMLESS
from kubelb.config.nginx.syntax import Directive, Handler, Notes, parse_count, parse_time, walk
from kubelb.reasons import ValueFault

_USUAL_PIDS = ("/run/nginx.pid", "/var/run/nginx.pid")
"""Of the one nginx of a machine: kubelb in its place has the runtime directory that its commands look in."""
_MAX_CPUS = 1024
"""Linux' CPU_SETSIZE."""
_SIZE = re.compile(r"[0-9]{1,18}[kKmMgG]?")


class Processes:
    """Takes the directives in, in the order of the file."""

    def __init__(self, notes: Notes, prefix: str, pid: str | None) -> None:
        """``pid`` is the pid file of a configuration that names none."""
        self.daemon = True
        self.pin = False
        self._notes = notes
        self._prefix = prefix
        self._settings: dict[str, Any] = {}
        self._pools: set[str] = set()
        if pid is not None:
            self._settings["pid_file"] = pid
        self.handlers: Mapping[str, Handler] = {
            "user": self._user,
            "pid": self._pid,
            "daemon": self._daemon,
            "worker_priority": self._worker_priority,
            "worker_cpu_affinity": self._worker_cpu_affinity,
            "events": self._events,
            "thread_pool": self._checked("main", self._check_thread_pool),
            "timer_resolution": self._checked("main", lambda args: parse_time(args[0])),
            "worker_rlimit_core": self._checked("main", lambda args: _check(_SIZE, args[0])),
            "debug_points": self._checked("main", lambda args: _check(re.compile("(?i:stop|abort)"), args[0])),
        }

    def process(self) -> Process:
        return Process(**self._settings)

    def runtime_dir(self) -> str:
        """One for each pid file, so that those who run side by side have their own."""
        pid = self._settings.get("pid_file", _USUAL_PIDS[0])
        return RUNTIME_DIR if pid in _USUAL_PIDS else pid.removesuffix(".pid") + ".kubelb"

    def _set(self, name: str, directive: Directive, value: object) -> None:
        self._settings[name] = value
        self._notes.places["process", name] = directive.place()

    def _checked(self, context: str, check: Callable[[tuple[str, ...]], object]) -> Handler:
        """For a directive without effect whose arguments nginx looks at."""

        def handle(directive: Directive) -> None:
            check(directive.args)
            self._notes.warn(directive, HARMLESS[context][directive.name])

        return handle

    def _user(self, directive: Directive) -> None:
        """Without a group it is the one of the user's name, as in ``ngx_set_user``."""
        self._set("user", directive, directive.args[0])
        self._set("group", directive, directive.args[-1])

    def _pid(self, directive: Directive) -> None:
        if not directive.args[0]:
            raise ValueFault("empty; write a path")
        self._set("pid_file", directive, posixpath.join(self._prefix, directive.args[0]))
        self._notes.places[("runtime_dir",)] = directive.place()

    def _daemon(self, directive: Directive) -> None:
        self.daemon = directive.args[0].lower() == "on"

    def _worker_priority(self, directive: Directive) -> None:
        sign, digits = re.fullmatch(r"([-+]?)(.*)", directive.args[0], re.DOTALL).groups()  # type: ignore[union-attr]
        number = parse_count(digits) * (-1 if sign == "-" else 1)
        # The kernel takes a number beyond for the outermost.
        self._set("priority", directive, min(max(number, -20), 19))

    def _worker_cpu_affinity(self, directive: Directive) -> None:
        masks = directive.args
        if masks[0] == "auto":
            if len(masks) > 2:
                raise ValueFault("too many masks; write auto and at most one")
            self.pin = True
            self._notes.places[("pin",)] = directive.place()
            masks = masks[1:]
        if masks:
            self._set("cpus", directive, tuple(parse_mask(mask) for mask in masks))

    def _events(self, directive: Directive) -> None:
        handlers: dict[str, Handler] = {
            "worker_connections": self._worker_connections,
            "use": _use,
            "accept_mutex_delay": self._checked("events", lambda args: parse_time(args[0])),
            "worker_aio_requests": self._checked("events", lambda args: parse_count(args[0])),
        }
        walk(directive.block or (), "events", handlers, self._notes)

    def _worker_connections(self, directive: Directive) -> None:
        self._set("max_connections", directive, parse_count(directive.args[0]))

    def _check_thread_pool(self, args: tuple[str, ...]) -> None:
        name, *parameters = args
        threads = None
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key not in ("threads", "max_queue"):
                raise ValueFault(f'invalid parameter "{parameter}"; write threads= and max_queue=')
            count = parse_count(value)
            threads = count if key == "threads" else threads
        if not threads:
            raise ValueFault("no threads; write threads= and a number from 1 up")
        if name in self._pools:
            raise ValueFault(f'duplicate thread pool "{name}"')
        self._pools.add(name)


def parse_mask(text: str) -> tuple[int, ...]:
    """The CPUs of a binary mask, the last digit for the first of them; blanks count for nothing."""
    digits = text.replace(" ", "")
    if len(digits) > _MAX_CPUS:
        raise ValueFault(f"more than {_MAX_CPUS} CPUs")
    if wrong := digits.strip("01"):
        raise ValueFault(f'invalid character "{wrong[-1]}"; write a digit for each CPU, 0 or 1')
    return tuple(cpu for cpu, digit in enumerate(reversed(digits)) if digit == "1")


def _use(directive: Directive) -> None:
    if directive.args[0] != "epoll":
        raise ValueFault(f'invalid event type "{directive.args[0]}"; it is always epoll')


def _check(form: re.Pattern[str], text: str) -> None:
    if not form.fullmatch(text):
        raise ValueFault(f'invalid value "{text}"')
