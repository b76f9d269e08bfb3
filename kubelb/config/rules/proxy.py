"""The rules for how a listener's sessions are taken to servers; pure."""

from __future__ import annotations

from collections.abc import Iterator

from kubelb.config.faults import Key, fault_of
from kubelb.config.model.listeners import Listener
from kubelb.config.proxying import compile_rate, compile_source
from kubelb.config.rules.rule import Problem, duration_problems
from kubelb.config.variables import Worker
from kubelb.reasons import ValueFault


def proxy_problems(key: Key, listener: Listener, worker: Worker) -> Iterator[Problem]:
    """What is wrong with the listener at ``key``; ``worker`` knows the variables."""
    for name in ("connect_timeout", "hedge_delay", "idle_timeout", "half_close_timeout", "retry_timeout"):
        yield from duration_problems((*key, name), getattr(listener, name))
    if listener.max_tries < 0:
        yield (*key, "max_tries"), f"{listener.max_tries} is too few", "write 0 (as many as there are) or more"
    for name, check in (("upload_rate", compile_rate), ("download_rate", compile_rate), ("bind", compile_source)):
        try:
            check(getattr(listener, name), worker)
        except ValueFault as error:
            fault = fault_of(error)
            yield (*key, name), fault.what, fault.instead
