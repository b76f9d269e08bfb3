"""Messages that find this process short of something are kept, and sent in their order once there is room again.

The kernel may have no memory for a message (ENOBUFS, ENOMEM in sendmsg(2)), or the process no descriptor for the file
in which a large one travels (memfd_create(2)). That passes, and nobody is at fault. For one thread, the one that
sends through the channel; it calls :meth:`Outbox.flush` now and then while :attr:`Outbox.owes`.
"""

from __future__ import annotations

import errno
from collections import deque
from typing import Any, Final

from kubelb import log
from kubelb.own_limits import EXHAUSTED, own_reason
from kubelb.reasons import number_of
from kubelb.wire.channel import Channel
from kubelb.wire.message_sets import Message

SHORT: Final = EXHAUSTED | {errno.ETOOMANYREFS}
"""By which a message is not sent for want of something here (sendmsg(2), memfd_create(2), unix(7))."""
SHORTAGE: Final = 0.2
"""Seconds until what is owed is sent again."""


class Outbox:
    def __init__(self, channel: Channel[Any], **who: object) -> None:
        """The channel stays the caller's. ``who`` says in the log whom a message is for."""
        self._channel = channel
        self._who = who
        self._owed: deque[Message] = deque()

    @property
    def owes(self) -> bool:
        return bool(self._owed)

    def send(self, message: Message) -> bool:
        """Whether the other end took it, or will: one that is kept counts as taken."""
        self._owed.append(message)
        return self.flush()

    def flush(self) -> bool:
        """Send what is owed, as far as it can be sent. False: the other end is gone, or stuck; nothing is owed."""
        while self._owed:
            try:
                taken = self._channel.send(self._owed[0])
            except OSError as error:
                say_short(error, self._owed[0], **self._who)
                return True
            if not taken:
                self._owed.clear()
                return False
            self._owed.popleft()
        return True


def say_short(error: OSError, message: Message, **fields: object) -> None:
    """A message has not been sent for want of something here. Raises the error where it tells of anything else."""
    number = number_of(error)
    if number not in SHORT:
        raise error
    log.limited().warning("message_not_sent", message=type(message).__name__, reason=own_reason(number), **fields)
