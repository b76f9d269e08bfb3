"""Every field of the model: a reload goes by it, as a start does, or refuses it by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from kubelb.config.faults import ConfigFault, Key, show_key
from kubelb.config.model.config import Config
from kubelb.config.model.listeners import Binding
from kubelb.config.model.logs import Syslog
from kubelb.config.sources import Sources, load
from kubelb.config.toml.reader import parse_toml
from kubelb.config.toml.writer import write_toml
from kubelb.config.values import Address
from tests.support.everything import everything, make_files
from tests.support.fields import Field, Place, fields, others, places, value_at, with_value
from tests.support.still import Control, Picture, a_stage

OTHERS: Final[dict[str, tuple[Any, ...]]] = {
    "Part.percent": ("20%",),
    "Listener.pool": ("unused", "$mine"),
    "Listener.upload_rate": ("1k",),
    "Listener.download_rate": ("1k",),
    "Listener.bind": ("127.0.0.1",),
    "Log.syslog": (Syslog(server=Address("127.0.0.1", 1515)),),
}
"""Values of fields whose texts have a form of their own."""
REFUSED: Final = {
    *("threads", "pin", "runtime_dir", "max_open_files", "shutdown_timeout", "process", "admin"),
    *("log.file", "log.syslog", "log.also", "http", "listener.socket"),
}
"""What takes an upgrade, with all that is within it, but for:"""
NOT_REFUSED: Final = {"process.max_connections", "log.also.level", "http.access_log", "http.location.access_log"}
ENOUGH: Final = 2
"""Values of a field that are tried."""


class Rig:
    """Runs control with one configuration, and has it reload another."""

    def __init__(self, directory: Path) -> None:
        self.files = make_files(directory)
        self.config = everything(directory, self.files)
        self._file = directory / "kubelb.toml"
        self._pictures: dict[str, Picture] = {}

    def is_fit(self, config: Config) -> bool:
        self._file.write_text(write_toml(config))
        try:
            return load(Sources(config=str(self._file))).config == config
        except ConfigFault:
            return False

    def refused(self, before: Config, after: Config) -> list[str | None]:
        """The settings that a reload from one to the other refuses. None: then it has made the one into the other."""
        with a_stage() as stage, closing(Control(stage, self._file, before)) as control:
            try:
                control.reload(after)
            except ConfigFault as error:
                return [fault.path for fault in error.faults]
            assert control.read.bindings == _sockets(after)
            assert parse_toml(control.read.toml, "reloaded").config == after
            assert control.picture() == self.picture(after)
            return []

    def picture(self, config: Config) -> Picture:
        """Of a proxy that was started with it."""
        text = write_toml(config)
        if text not in self._pictures:
            with a_stage() as stage, closing(Control(stage, self._file, config)) as control:
                self._pictures[text] = control.picture()
        return self._pictures[text]

    def changes(self, field: Field) -> Iterator[tuple[Key, Config]]:
        """Configurations that are fit to be run, and differ in this field alone; some for each part of a
        configuration where there is such a field. With the setting's key."""
        found: Counter[str] = Counter()
        for place in places(self.config):
            here = _pattern(place.key)
            for value in self._others(place) if place.field == field else ():
                if found[here] < ENOUGH:
                    changed = with_value(self.config, place.path, value)
                    if self.is_fit(changed):
                        found[here] += 1
                        yield place.key, changed

    def _others(self, place: Place) -> Iterator[Any]:
        value = value_at(self.config, place.path)
        given = (*OTHERS.get(str(place.field), ()), *self.files.get(place.field.name, ()))
        yield from (one for one in given if one != value)
        yield from others(place.field.type, value)


def _sockets(config: Config) -> dict[str, Binding]:
    return {str(address): listener.socket for listener in config.listeners for address in listener.listen}


def _pattern(key: Key) -> str:
    """Without the numbers and names that tell settings of the same kind apart."""
    named = 1 if key[0] in ("pool", "variable") else None
    return ".".join(step for i, step in enumerate(key) if isinstance(step, str) and i != named)


def _is_refused(key: Key) -> bool:
    """As the innermost of what is listed has it."""
    steps = _pattern(key).split(".")
    around = [".".join(steps[:end]) for end in range(len(steps), 0, -1)]
    return next((name in REFUSED for name in around if name in REFUSED | NOT_REFUSED), False)


def _is_within(path: str | None, around: str) -> bool:
    return path is not None and path.startswith(around) and path[len(around) :][:1] in ("", ".", "[")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some values are relative paths of files, which are made."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    return Rig(tmp_path_factory.mktemp("reloads"))


@pytest.mark.parametrize("field", fields(), ids=str)
def test_a_reload_goes_by_a_changed_setting_or_refuses_it_by_name(rig: Rig, field: Field) -> None:
    changes = list(rig.changes(field))
    assert changes, f"no other value of {field} is known that makes sense: give one in OTHERS, and a place for it"
    seen: dict[str, bool] = {}
    for key, changed in changes:
        for before, after in ((rig.config, changed), (changed, rig.config)):
            faults = rig.refused(before, after)
            assert bool(faults) == _is_refused(key), show_key(key)
            assert all(_is_within(fault, show_key(key)) for fault in faults)
        is_seen = bool(faults) or rig.picture(rig.config) != rig.picture(changed)
        seen[_pattern(key)] = seen.get(_pattern(key), False) or is_seen
    assert all(seen.values()), f"{seen}: what such a setting comes to is not to be seen in the picture"
