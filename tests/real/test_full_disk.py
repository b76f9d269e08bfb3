"""Logs on a disk that is full for a while: what is lost is said, and spoils nothing that comes later."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from structlog.testing import capture_logs

from kubelb.accesslog.file import LogFile
from kubelb.config.model.logs import AccessLog
from kubelb.outlets import Outlets, Target

NOW = datetime.now(timezone.utc)


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file of this process may be longer: as on a full disk, the beginning of what is too much is written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_half_a_line_of_an_access_log_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    out = LogFile(AccessLog(file=str(path), format="x"))
    with capture_logs() as events, room_for(25):
        for _ in range(4):
            out.write(b"0123456789", NOW, 0.0)
    out.write(b"after", NOW, 0.0)
    out.write(b"that", NOW, 0.0)
    out.close()
    assert path.read_bytes().splitlines() == [b"0123456789", b"0123456789", b"012", b"after", b"that"]
    assert [event["lines"] for event in events] == [1, 1]


def test_half_an_event_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "log"
    outlets = Outlets([Target(file=str(path))], lambda _: None, lambda event: json.dumps(dict(event)))
    event = {"level": "info", "process": "p", "timestamp": "t", "event": "0123456789"}
    with room_for(2 * (len(json.dumps(event)) + 1) + 3):
        for _ in range(4):
            outlets.write(**event)
    outlets.write(**{**event, "event": "after"})
    outlets.close()
    first, second, half, lost, after = path.read_text().splitlines()
    assert (json.loads(first), json.loads(second), half) == (event, event, json.dumps(event)[:3])
    assert (json.loads(lost)["event"], json.loads(lost)["events"]) == ("log_lost", 2)
    assert json.loads(after)["event"] == "after"
