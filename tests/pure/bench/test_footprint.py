from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.footprint import FilePart, once, own_bytes

ROLLUP = """\
55e5c0a00000-7ffd5a5fe000 ---p 00000000 00:00 0                          [rollup]
Rss:               14608 kB
Pss:               10279 kB
Pss_Dirty:          9500 kB
Pss_Anon:           9400 kB
Pss_File:            779 kB
Pss_Shmem:           100 kB
Shared_Clean:       5000 kB
Anonymous:         12000 kB
"""
PARTS: st.SearchStrategy[list[dict[FilePart, int]]] = st.lists(
    st.dictionaries(
        st.tuples(st.sampled_from(["/a", "/b"]), st.sampled_from(["0-1", "1-2"])), st.integers(0, 1 << 40)
    )
)


def test_memory_of_the_tree_alone_is_taken_by_its_part() -> None:
    assert own_bytes(ROLLUP) == 9500 * 1024


@given(PARTS)
def test_what_several_map_is_counted_once(files: list[dict[FilePart, int]]) -> None:
    found = once(files)
    assert found == once([*files, *files])
    assert found.keys() == {part for held in files for part in held}
    assert all(found[part] >= size for held in files for part, size in held.items())
    assert all(any(held.get(part) == size for held in files) for part, size in found.items())
