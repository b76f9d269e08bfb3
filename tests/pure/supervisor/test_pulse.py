"""Who hangs is found within its time, and nobody is blamed for a time in which nobody could do anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.supervisor.pulse import LOOK, first_look, next_look


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans(), st.booleans()), max_size=50))
def test_silence_is_what_was_seen_of_it(looks: list[tuple[float, bool, bool]]) -> None:
    """Of two threads; each look comes after a pause, and finds that one or the other has done something."""
    now, beats, seen = 0.0, [0, 0], [0.0, 0.0]
    pulse = first_look(beats, now)
    for pause, *moved in looks:
        now += pause
        for number, has_moved in enumerate(moved):
            beats[number] += has_moved
            seen[number] = 0.0 if has_moved else seen[number] + min(pause, 2 * LOOK)
        pulse = next_look(pulse, beats, now)
        assert pulse.silent == pytest.approx(seen)
        assert pulse.longest_silence == pytest.approx(max(seen))


def test_a_machine_that_stood_still_blames_nobody() -> None:
    pulse = next_look(first_look([7], 0.0), [7], 3600.0)
    assert pulse.longest_silence == 2 * LOOK
    assert next_look(pulse, [8], 3601.0).longest_silence == 0.0
