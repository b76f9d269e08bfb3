"""What ``nginx -t`` says of a configuration, and what kubelb says."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kubelb.config.faults import ConfigFault
from kubelb.config.sources import Sources, load
from kubelb.discovery.resolve import resolve

_PLACE = re.compile(r" in \S*/nginx\.conf:(\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Verdict:
    """Whether a configuration is taken, and if not on which line its mistake is; None where no line is named."""

    taken: bool
    line: int | None = None


def by_nginx(nginx: str, conf: Path) -> tuple[Verdict, str]:
    """With its words."""
    command = [nginx, "-t", "-p", str(conf.parent), "-c", str(conf), "-e", "stderr"]
    said = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=30, check=False)
    place = _PLACE.search(re.sub(r"(?m)^.*\[warn\].*$", "", said.stderr))
    return Verdict(said.returncode == 0, int(place[1]) if said.returncode and place else None), said.stderr


def by_kubelb(conf: Path) -> tuple[Verdict, str]:
    """With its words: as ``kubelb check`` has it, of whose faults the first counts."""
    try:
        loaded = load(Sources(nginx_conf=str(conf)))
        resolve(loaded.config, loaded.places)
    except ConfigFault as error:
        return Verdict(False, error.faults[0].line), str(error)
    return Verdict(True), ""
