"""Opening the files of logs anew, at the operator's wish (USR1): they may have been renamed.

A file system may stand still, and the supervisor waits for nothing, so a child of it does that, the opener. It stays
what the supervisor is, mostly root: it makes files that are not there for those who may not, as at the start, gives
the supervisor the descriptors of those that events are written to, and ends. Then the other children open theirs.

:class:`Reopening` is for the supervisor's only thread. It owns the opener's channel.
"""

from __future__ import annotations

import errno
import os
import selectors
from collections.abc import Callable, Iterable

from kubelb import log
from kubelb.config.log_files import make_log_file
from kubelb.opening import open_to_append
from kubelb.reasons import reason, reason_of
from kubelb.supervisor import children
from kubelb.wire.channel import Channel, MessageLost, close_all
from kubelb.wire.message_sets import FromOpener, MessageFault, ToOpener
from kubelb.wire.messages import LogOpened

Spawn = Callable[[], tuple[int, Channel[FromOpener]]]


def open_anew(channel: Channel[ToOpener], files: Iterable[str], user: str | None) -> None:
    """In the opener. ``files`` are those of all logs. What is wrong with one of an access log is found, and said, by
    whoever writes it."""
    for file in files:
        make_log_file(file, user)
    for index, path in enumerate(log.outlets().files()):
        try:
            fd = open_to_append(path).fd
        except OSError as error:
            log.get().error("log_not_reopened", file=path, reason=reason_of(error))
        else:
            channel.send_at_last(LogOpened(index), [fd])
            os.close(fd)
    # The supervisor need not wait for the end of this process.
    channel.close()


class Reopening:
    def __init__(
        self,
        selector: selectors.BaseSelector,
        spawn: Spawn,
        opened: Callable[[int, int], None],
        done: Callable[[], None],
    ) -> None:
        """``spawn`` starts an opener: its pid, and the channel. ``opened`` is given the index and the descriptor of
        each file, the descriptor to keep; ``done`` is called when all have been opened, or cannot be."""
        self._selector = selector
        self._spawn = spawn
        self._opened = opened
        self._done = done
        self._channel: Channel[FromOpener] | None = None
        self._again = False
        """It has been wished for once more meanwhile."""

    def begin(self) -> None:
        if self._channel is not None:
            self._again = True
            return
        self._again = False
        try:
            pid, channel = self._spawn()
            children.hear(self._selector, pid, channel, self._told)
        except OSError as error:
            for file in log.outlets().files():
                log.get().error("log_not_reopened", file=file, reason=reason_of(error))
            self._done()
            return
        self._channel = channel

    def channels(self) -> list[Channel[FromOpener]]:
        return [] if self._channel is None else [self._channel]

    def _told(self) -> None:
        if self._channel is None:
            return
        try:
            message, fds = self._channel.receive_with_fds()
        except BlockingIOError:
            return
        except (MessageFault, MessageLost) as error:
            log.get().error("log_not_reopened", reason=str(error))
            return
        if message is None:
            self.close()
            self._done()
            if self._again:
                self.begin()
        elif fds:
            self._opened(message.index, fds.pop())
            close_all(fds)
        else:
            file = log.outlets().files()[message.index]
            log.get().error("log_not_reopened", file=file, reason=reason(errno.EMFILE))

    def close(self) -> None:
        """The opener is not heard any more; it ends by itself."""
        if self._channel is not None:
            self._selector.unregister(self._channel)
            self._channel.close()
            self._channel = None
