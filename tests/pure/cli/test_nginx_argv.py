"""nginx's command line, against its rules written out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.cli.nginx_argv import FILE, SIGNALS, Command, UsageFault, parse
from kubelb.config.nginx.syntax import PREFIX

_FIELDS = {
    "?": {"version", "help"},
    "h": {"version", "help"},
    "v": {"version"},
    "V": {"version", "configure"},
    "t": {"test"},
    "T": {"test", "dump"},
    "q": {"quiet"},
}
_switches = st.text(st.sampled_from(list(_FIELDS)), max_size=4)
_values = st.one_of(
    st.tuples(st.sampled_from("cgpe"), st.text(max_size=6)), st.tuples(st.just("s"), st.sampled_from(SIGNALS))
)
_option = st.tuples(_switches, st.none() | _values, st.booleans())
"""Letters, perhaps an option with a value behind them, and whether that is a word of its own."""


@given(st.lists(_option, max_size=5))
def test_letters_may_stand_together_and_the_last_value_counts(
    options: list[tuple[str, tuple[str, str], bool]],
) -> None:
    words: list[str] = []
    for switches, valued, apart in options:
        letter, value = valued or ("", "")
        words.append(f"-{switches}{letter}{'' if apart else value}")
        if letter and (apart or not value):
            words.append(value)
    fields = set().union(*(_FIELDS[letter] for switches, _, _ in options for letter in switches))
    values = dict(valued for _, valued, _ in options if valued)
    prefix = values.get("p", PREFIX)
    prefix += "" if prefix.endswith("/") or not prefix else "/"
    file, log = values.get("c", FILE), values.get("e")
    assert parse(words) == Command(
        version="version" in fields,
        help="help" in fields,
        configure="configure" in fields,
        test="test" in fields,
        dump="dump" in fields,
        quiet="quiet" in fields,
        signal=values.get("s"),
        file=file if file.startswith("/") else prefix + file,
        prefix=prefix,
        globals=values.get("g", ""),
        error_log="" if log == "stderr" else log,
    )


@given(st.lists(st.text(max_size=8), max_size=6))
def test_any_words_are_a_command_or_a_fault(words: list[str]) -> None:
    try:
        command = parse(words)
    except UsageFault:
        assert words
    else:
        assert all(word.startswith("-") for word in words[:1])
        assert command.signal in (None, *SIGNALS)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["x"], 'invalid option: "x"'),
        ([""], 'invalid option: ""'),
        (["-tx"], 'invalid option: "x"'),
        (["--help"], 'invalid option: "-"'),
        (["-t", "-c"], 'option "-c" requires file name'),
        (["-e"], 'option "-e" requires file name'),
        (["-p"], 'option "-p" requires directory name'),
        (["-g"], 'option "-g" requires parameter'),
        (["-s"], 'option "-s" requires parameter'),
        (["-sfoo"], 'invalid option: "-s foo"'),
        (["-s", ""], 'invalid option: "-s "'),
    ],
)
def test_faults(words: list[str], fault: str) -> None:
    with pytest.raises(UsageFault) as caught:
        parse(words)
    assert str(caught.value) == fault
