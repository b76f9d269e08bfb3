"""Counts the clients of a listener by its limits, nginx's ``limit_conn``; used on its relay thread.

``ngx_stream_limit_conn_handler`` (nginx's src/stream/ngx_stream_limit_conn_module.c) is the source.
"""

from __future__ import annotations

from typing import Final

import msgspec

from kubelb import log
from kubelb.config.model.listeners import Limit
from kubelb.config.variables import Client, Worker, address_text, compile_key
from kubelb.crowds import Crowds
from kubelb.snapshot import Listener

REJECTED: Final = "REJECTED"
_MAX_KEY = 255
"""Bytes."""


class Limits:
    """Those of one listener, in their order."""

    def __init__(self, listener: Listener, crowds: Crowds, worker: Worker) -> None:
        """``worker`` knows the variables."""
        self._address = listener.address
        self._crowds = crowds
        self._limits = [(limit, compile_key(limit.key, worker)) for limit in listener.limits]

    def counted(self, who: Client) -> Client:
        """The client as it is counted from now on, until the books have it that it has gone; or as it is rejected."""
        counted_as: tuple[int, ...] = ()
        status = ""
        for limit, key in self._limits:
            value = key(who)
            if not value:
                continue
            if len(value) > _MAX_KEY:
                log.limited().error("limit_key_too_long", listener=self._address, key=limit.key, bytes=len(value))
                continue
            kind = self._crowds.kind(f"{limit.zone}\n{limit.key}\n".encode() + value)
            if not self._crowds.enter(kind, limit.connections):
                self._tell(limit, who)
                for kind in counted_as:
                    self._crowds.leave(kind)
                status = "REJECTED_DRY_RUN" if limit.dry_run else REJECTED
                return msgspec.structs.replace(who, limit_status=status)
            counted_as, status = (*counted_as, kind), "PASSED"
        return msgspec.structs.replace(who, counted_as=counted_as, limit_status=status)

    def _tell(self, limit: Limit, who: Client) -> None:
        tell = getattr(log.limited(), limit.log_level)
        tell(
            "limiting_connections",
            listener=self._address,
            zone=limit.zone,
            key=limit.key,
            client=address_text(who.remote),
            dry_run=limit.dry_run,
        )
