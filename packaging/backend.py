"""The build backend (PEP 517): setuptools', with a directory of its own for each wheel's build.

setuptools packs whatever lies in build/lib, and so what an earlier build left there of modules that have gone since.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]


def build_wheel(
    wheel_directory: str, config_settings: Mapping[str, Any] | None = None, metadata_directory: str | None = None
) -> str:
    """The name of the wheel, which is then in ``wheel_directory``."""
    with tempfile.TemporaryDirectory() as directory:
        settings = {**(config_settings or {}), "--global-option": ["build", "--build-base", directory]}
        name: str = build_meta.build_wheel(wheel_directory, settings, metadata_directory)
    return name
