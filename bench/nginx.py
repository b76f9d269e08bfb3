"""How an nginx of our own is run: its prefix in a directory of ours, in the foreground, never the system's."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")


def binary() -> str | None:
    """Debian keeps it in /usr/sbin, which is not on everyone's PATH."""
    return shutil.which("nginx", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin")


def command(configuration: str, directory: Path) -> list[str]:
    """What runs it."""
    return [binary() or "nginx", *arguments(configuration, directory)]


def arguments(configuration: str, directory: Path) -> list[str]:
    """Write the configuration to ``directory``, nginx's prefix; what nginx is told."""
    file = directory / "nginx.conf"
    file.write_text(configuration)
    return ["-p", str(directory), "-c", str(file), "-g", "daemon off;"]
