"""kubelb's own TOML file into the model. Opens the file itself; used before the processes start and, later, in the
control process."""

from __future__ import annotations

import re

import tomli

from kubelb.config.faults import ConfigFault, Fault, Key, Place
from kubelb.config.files import read_text
from kubelb.config.model.config import Loaded
from kubelb.config.toml.decode import decode_config
from kubelb.config.toml.effects import without_effect
from kubelb.config.toml.lines import key_lines

_POSITION = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


def read_toml(path: str) -> Loaded:
    """The file's configuration, its rules not yet checked; :class:`ConfigFault` with every fault of its form."""
    return parse_toml(read_text(path), path)


def parse_toml(text: str, file: str) -> Loaded:
    """As :func:`read_toml`, of a text that ``file`` is only the name of."""
    try:
        table = tomli.loads(text)
        lines = key_lines(text)
    except tomli.TOMLDecodeError as error:
        raise ConfigFault(_syntax_fault(str(error), text, file)) from None
    except ValueError:
        # int() converts no more digits than sys.get_int_max_str_digits().
        raise ConfigFault(Fault(file=file, what="not TOML: a number of too many digits")) from None
    except RecursionError:
        raise ConfigFault(Fault(file=file, what="nested too deeply")) from None
    places: dict[Key, Place] = {key: Place(file, line) for key, line in lines.items()}
    places[()] = Place(file)
    config = decode_config(table, places)
    return Loaded(config, without_effect(config, places), places)


def _syntax_fault(message: str, text: str, file: str) -> Fault:
    position = _POSITION.search(message)
    if position is None:
        return Fault(file=file, what=f"not TOML: {message}")
    line = int(position[1]) if position[1] else text.count("\n") + 1
    return Fault(file=file, line=line, what=f"not TOML: {message[: position.start()]}")
