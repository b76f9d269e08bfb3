"""kubelb's own TOML file into the model. Opens the file itself; used before the processes start and, later, in the
supervisor's reader; and in control, of a text that the reader has made."""

from __future__ import annotations

import tomli

from kubelb.config.faults import ConfigFault, Fault, Key, Place
from kubelb.config.files import read_text
from kubelb.config.model.config import Loaded
from kubelb.config.toml.decode import decode_config
from kubelb.config.toml.effects import without_effect
from kubelb.config.toml.lines import key_lines
from kubelb.config.toml.syntax import deepest_line, longest_word_line, why_not_toml


def read_toml(path: str) -> Loaded:
    """The file's configuration, its rules not yet checked; :class:`ConfigFault` with every fault of its form."""
    return parse_toml(read_text(path), path)


def parse_toml(text: str, file: str) -> Loaded:
    """As :func:`read_toml`, of a text that ``file`` is only the name of."""
    text = text.replace("\r\n", "\n")
    try:
        table = tomli.loads(text)
        lines = key_lines(text)
    except tomli.TOMLDecodeError as error:
        line, column, what, instead = why_not_toml(text, error.pos)
        raise ConfigFault(
            Fault(file=file, line=line, what=f"not TOML at column {column}: {what}", instead=instead)
        ) from None
    except ValueError:
        # int() converts no more digits than sys.get_int_max_str_digits().
        fault = Fault(
            file=file,
            line=longest_word_line(text),
            what="not TOML: a number of too many digits",
            instead="write one of up to 19 digits",
        )
        raise ConfigFault(fault) from None
    except RecursionError:
        fault = Fault(
            file=file,
            line=deepest_line(text),
            what="nested too deeply",
            instead="write at most 100 brackets within each other",
        )
        raise ConfigFault(fault) from None
    places: dict[Key, Place] = {key: Place(file, line) for key, line in lines.items()}
    places[()] = Place(file)
    config = decode_config(table, places)
    return Loaded(config, without_effect(config, places), places)
