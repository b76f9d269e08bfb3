"""What a client says first is told to whoever wants to know, and moved as if it had not been."""

from __future__ import annotations

import pytest

from kubelb.relay.session import End, Session
from tests.real.relay.rig import Link, Rig, digest, is_reset, read_to_the_end
from tests.support.identity import reset

pytestmark = pytest.mark.usefixtures("no_leaks")


class Told:
    """What it was told."""

    def __init__(self) -> None:
        self.words: list[bytes] = []

    def __call__(self, session: Session, data: bytes) -> None:
        assert session.up.moved == 0
        self.words.append(data)


def a_link() -> tuple[Link, Told]:
    link, told = Link.make(), Told()
    link.session.on_first_bytes = told
    return link, told


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("zero_copy", [True, False])
def test_they_are_told_once_and_moved_all_the_same(zero_copy: bool, early: bool) -> None:
    """Whether they are there when the session is adopted, or come when it has been for a while."""
    link, told = a_link()
    with Rig(zero_copy) as rig:
        if early:
            link.client.sendall(b"first")
        rig.adopt(link)
        if not early:
            link.server.sendall(b"hello")
            assert link.client.recv(5) == b"hello"
            link.client.sendall(b"first")
        assert link.server.recv(5) == b"first"
        link.client.sendall(b"second")
        assert link.server.recv(6) == b"second"
        assert told.words == [b"first"]


def test_much_is_told_in_part_and_moved_whole() -> None:
    words = bytes(range(256)) * 256
    link, told = a_link()
    with Rig() as rig:
        link.client.sendall(words)
        link.client.close()
        rig.adopt(link)
        assert digest(read_to_the_end(link.server)) == digest(words)
        assert told.words == [words[:16384]]


def test_a_client_that_says_nothing_has_an_end_all_the_same() -> None:
    link, told = a_link()
    with Rig() as rig:
        rig.adopt(link)
        link.client.close()
        assert read_to_the_end(link.server) == b""
        assert told.words in ([], [b""])


@pytest.mark.parametrize("early", [True, False])
def test_a_reset_is_passed_on_as_one(early: bool) -> None:
    link, told = a_link()
    with Rig() as rig:
        if early:
            reset(link.client)
        rig.adopt(link)
        if not early:
            link.server.sendall(b"hello")
            assert link.client.recv(5) == b"hello"
            reset(link.client)
        assert is_reset(link.server)
        assert rig.end_of(link) is End.CLIENT_RESET
        assert not told.words


def test_they_are_not_told_by_a_thread_of_its_own() -> None:
    link, told = a_link()
    with Rig(share=False) as rig:
        rig.adopt(link)
        link.client.sendall(b"first")
        assert link.server.recv(5) == b"first"
        assert not told.words
