"""What a child said before it died must not touch the one that has its place now."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_IN_A_PROCESS_OF_ITS_OWN = """
import selectors, sys
from pathlib import Path
from kubelb.config.model import Config
from kubelb.config.overrides import NO_OVERRIDES
from kubelb.config.sources import Sources
from kubelb.snapshot import Snapshot
from kubelb.supervisor.main import Supervisor
from kubelb.wire.channel import Channel
from kubelb.wire.messages import Ready

config = Config(runtime_dir=sys.argv[1], workers=1)
supervisor = Supervisor(config, Snapshot(version=1, listeners=(), pools=()), Sources(), NO_OVERRIDES)
old, dead_child = Channel.pair()
new, child = Channel.pair()
supervisor._selector.register(old, selectors.EVENT_READ, None)
supervisor._channels["worker-0"] = new
dead_child.send(Ready())
dead_child.close()
supervisor._told("worker-0", old)
assert not supervisor._places["worker-0"].ready, "the newcomer has not said that it serves"
supervisor._told("worker-0", old)
assert supervisor._channels == {"worker-0": new}, "the newcomer's channel stays"
assert old.fileno() == -1, "the old one is closed"
supervisor._clean_up()
"""


def test_a_dead_child_speaks_for_nobody(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _IN_A_PROCESS_OF_ITS_OWN, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
