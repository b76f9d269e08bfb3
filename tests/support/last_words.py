"""A kubelb one of whose processes is killed in the midst of what it does: once, by itself, and so never too late."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.support.program import OURS

_CODE = """\
import os, signal
from kubelb.wire import message_sets
from kubelb.wire.channel import Channel
from kubelb.wire.messages import Reloading

send, receive, counted = Channel._send, Channel.receive_with_fds, []


def springs(channel, message):
    if channel._takes is not message_sets.{takes} or type(message).__name__ not in {words}:
        return False
    if os.path.exists({armed!r}):
        counted.append(message)
        if len(counted) == {count}:
            os.unlink({armed!r})
            return True
    return False


def said(channel, message, fds, flags):
    if not springs(channel, message):
        return send(channel, message, fds, flags)
    for _ in range({others}):
        send(channel, Reloading(under_way=True), (), flags)
    send(channel, message, fds, flags)
    os.kill(os.getpid(), signal.SIGKILL)


def heard(channel):
    message, fds = receive(channel)
    if springs(channel, message):
        os.kill(os.getpid(), signal.SIGKILL)
    return message, fds


{patched}
"""


class Trap:
    """Kills whoever says, or hears, the ``count``-th of these messages, from when it is armed."""

    def __init__(
        self,
        directory: Path,
        takes: str,
        words: Sequence[type[msgspec.Struct]],
        count: int = 1,
        *,
        heard: bool = False,
        others: int = 0,
    ) -> None:
        """``takes`` is the set of messages, one of :mod:`kubelb.wire.message_sets`, that the victim takes. So many
        ``others`` it says before that one, which control alone can."""
        self._armed = directory / "armed"
        code = _CODE.format(
            takes=takes,
            words=tuple(word.__name__ for word in words),
            armed=str(self._armed),
            count=count,
            others=others,
            patched="Channel.receive_with_fds = heard" if heard else "Channel._send = said",
        )
        self.code = code + OURS
        """The text of the program."""

    def arm(self) -> None:
        self._armed.touch()

    @property
    def has_sprung(self) -> bool:
        return not self._armed.exists()
