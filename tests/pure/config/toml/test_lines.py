"""The line of every key, in any style of TOML."""

from __future__ import annotations

from hypothesis import given

from kubelb.config.faults import Key
from kubelb.config.model.config import Config
from kubelb.config.toml.lines import key_lines
from kubelb.config.toml.writer import write_toml
from tests.pure.config.configs import configs

_TEXT = '''\
# a comment = "not a key"
a.b = 1 # [not.a.header]
"c d" = """
e = 2
""" # closed
f = [ [1,
  2], { g = 3,
  }, "]" ]
[pool.x]
"h\\"i" = 'a = b'
[[http]]
j = 1979-05-27 07:32:00
[[http]]
j = 5.0
[[http.location]]
k = {}
[[http.location]]
[http.more]
l = true
'''


def test_lines() -> None:
    lines = key_lines(_TEXT)
    assert lines == {
        ("a",): 2,
        ("a", "b"): 2,
        ("c d",): 3,
        ("f",): 6,
        ("f", 0): 6,
        ("f", 0, 0): 6,
        ("f", 0, 1): 7,
        ("f", 1): 7,
        ("f", 1, "g"): 7,
        ("f", 2): 8,
        ("pool",): 9,
        ("pool", "x"): 9,
        ("pool", "x", 'h"i'): 10,
        ("http",): 11,
        ("http", 0): 11,
        ("http", 0, "j"): 12,
        ("http", 1): 13,
        ("http", 1, "j"): 14,
        ("http", 1, "location"): 15,
        ("http", 1, "location", 0): 15,
        ("http", 1, "location", 0, "k"): 16,
        ("http", 1, "location", 1): 17,
        ("http", 1, "more"): 18,
        ("http", 1, "more", "l"): 19,
    }


@given(configs)
def test_finds_every_server_and_location(config: Config) -> None:
    text = write_toml(config)
    lines = key_lines(text)
    wanted: list[Key] = [
        ("pool", name, "servers", i) for name, pool in config.pools.items() for i in range(len(pool.servers))
    ]
    wanted += [("http", i, "location", j) for i, http in enumerate(config.http) for j in range(len(http.locations))]
    assert all(1 <= lines[key] <= text.count("\n") for key in wanted)
