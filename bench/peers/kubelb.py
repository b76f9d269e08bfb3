"""kubelb, from this checkout, with defaults or with more in its configuration."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

_CONFIGURATION = """\
{settings}

[[listener]]
listen = ["127.0.0.1:{port}"]
pool = "kube-apiserver"

[pool.kube-apiserver]
servers = ["127.0.0.1:{origin_port}"]
health = {{ probe = "http", path = "/small" }}
"""


@dataclass(frozen=True)
class Kubelb:
    """One variant: ``settings`` are lines of TOML put before the listener's."""

    name: str
    settings: str = ""

    def command(self, port: int, origin_port: int, directory: Path) -> list[str]:
        file = directory / "kubelb.toml"
        file.write_text(_CONFIGURATION.format(settings=self.settings, port=port, origin_port=origin_port))
        sources = ["--config", str(file), "--runtime-dir", str(directory / "run")]
        return [sys.executable, "-m", "kubelb", "run", *sources]
