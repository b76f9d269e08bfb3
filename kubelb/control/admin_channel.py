"""Connections of the admin side: requests that waitress refuses by itself, and what it has to say, in our own words.

For the ``admin`` thread in control, but for the tasks, which run where requests are answered. Each channel owns its
connection's descriptor, waitress closes it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Final

from waitress.task import ErrorTask, WSGITask

from kubelb import log
from kubelb.control.answers import plain
from kubelb.control.timed_channel import TimedChannel

MAX_HEAD: Final = 32 << 10
"""Bytes of a request's line and headers."""
MAX_BODY: Final = 64 << 10
"""Bytes of its body."""
_ERRORS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("400 Bad Request", "this is not HTTP; send for example GET /status HTTP/1.1"),
    413: ("413 Content Too Large", f"the body is too large; send less than {MAX_BODY >> 10} KiB"),
    431: ("431 Request Header Fields Too Large", f"the head is too large; send less than {MAX_HEAD >> 10} KiB"),
    500: ("500 Internal Server Error", "internal error; the log says more"),
    501: ("501 Not Implemented", "the body is encoded in another way than chunked; send it plain"),
}
"""Of those that waitress knows, by status: the line of the answer, and the text."""


class _ErrorTask(ErrorTask):  # type: ignore[misc]
    def execute(self) -> None:
        code = self.request.error.code
        answer = plain(*_ERRORS.get(code, (f"{code} Refused", "this cannot be answered")))
        self.status = answer.status
        self.response_headers.extend(answer.headers)
        self.set_close_on_finish()
        self.content_length = len(answer.body)
        self.write(answer.body)


class _Task(WSGITask):  # type: ignore[misc]
    def service(self) -> None:
        self.channel.answered += 1
        super().service()


class AdminChannel(TimedChannel):
    task_class = _Task
    error_task_class = _ErrorTask


class _OneAnswerTask(_Task):
    def start(self) -> None:
        self.request.headers["CONNECTION"] = "close"
        super().start()


class OneAnswerChannel(AdminChannel):
    """Closes the connection after one answer.

    Else waitress lets whoever asks many times in one piece, and reads nothing, hold the thread that answers.
    """

    task_class = _OneAnswerTask


class _ToOurLog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        # Over TCP anybody may make waitress say something.
        where = f"{record.module}.{record.funcName}"
        error = record.exc_info or sys.exc_info()
        if error[1] is not None:
            log.limited().error("internal_error", where=where, exc_info=error)
        else:
            log.limited().log(record.levelno, "admin_http", where=where)


def pass_on_warnings() -> None:
    """Let what waitress reports through :mod:`logging` appear in our log; a queue of two requests is no news."""
    logging.getLogger("waitress").handlers = [_ToOurLog(logging.WARNING)]
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
