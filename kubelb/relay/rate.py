"""When a flow that is limited to so many bytes a second may read again; pure.

nginx reads at most a buffer, or a second's worth if that is less, and then pauses for as long as these bytes are to
take; in all it reads no more than it may in the seconds since the start and one more
(``ngx_stream_proxy_process`` in src/stream/ngx_stream_proxy_module.c). One number keeps both, the moment from which
the flow may read on: virtual scheduling, the generic cell rate algorithm of ITU-T I.371. Who comes late to it,
because timers are coarse, makes up for that; who had nothing to read does not.
"""

from __future__ import annotations

_BUFFER = 16384
"""Bytes, as nginx's ``proxy_buffer_size``."""
_LATE = 1 / 16
"""Seconds that are made up for."""


def step_size(rate: int) -> int:
    """Bytes that one read may take at most, at ``rate`` bytes a second."""
    return min(rate, _BUFFER)


def due_after(rate: int, due: float, now: float, count: int) -> float:
    """The moment from which the flow may read on, after ``count`` bytes were read ``now`` and it might since ``due``.

    A flow may first read when it begins. All in seconds of one clock, ``rate`` in bytes a second.
    """
    return max(due, now - _LATE) + count / rate
