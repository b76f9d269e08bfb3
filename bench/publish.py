"""Where a finished run goes: the terminal, and files."""

from __future__ import annotations

from pathlib import Path

import msgspec


def publish(run: msgspec.Struct, text: str, markdown_file: Path | None, json_file: Path | None) -> None:
    """Print the tables, and write them and every figure where that is wanted."""
    print(text)
    if markdown_file:
        markdown_file.write_text(text)
    if json_file:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=2))
