"""What holds for every selector."""

from __future__ import annotations

import random
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelb.balance.eligible import eligible
from kubelb.balance.selector import make_selector
from kubelb.config.model.pools import Balance
from kubelb.snapshot import Pool, Server
from tests.pure.balance.pools import BALANCES, a_pool, any_servers, keys, loads, seeds, subsets, weights

few = settings(max_examples=40, deadline=None)
every_balance = pytest.mark.parametrize("balance", BALANCES)


def test_every_balance_has_a_selector() -> None:
    assert set(BALANCES) == set(get_args(Balance))
    assert len({type(make_selector(a_pool(balance, [1]))) for balance in BALANCES}) == len(BALANCES)


@every_balance
@few
@given(data=st.data(), weights=weights, rng=seeds)
def test_picks_one_of_the_eligible(
    balance: Balance, data: st.DataObject, weights: list[int], rng: random.Random
) -> None:
    selector = make_selector(a_pool(balance, weights))
    for _ in range(10):
        allowed = data.draw(subsets(len(weights)))
        assert selector.pick(allowed, data.draw(loads(len(weights))), data.draw(keys), rng) in allowed


@every_balance
@few
@given(data=st.data(), weights=weights, seed=st.integers(0, 2**32))
def test_the_same_inputs_give_the_same_picks(
    balance: Balance, data: st.DataObject, weights: list[int], seed: int
) -> None:
    size = len(weights)
    inputs = data.draw(st.lists(st.tuples(subsets(size), loads(size), keys), max_size=20))

    def picks() -> list[int]:
        selector, rng = make_selector(a_pool(balance, weights)), random.Random(seed)
        return [selector.pick(allowed, conns, key, rng) for allowed, conns, key in inputs]

    assert picks() == picks()


@every_balance
@few
@given(data=st.data(), servers=any_servers(), rng=seeds)
def test_max_conns_is_never_exceeded_and_nothing_unusable_is_picked(
    balance: Balance, data: st.DataObject, servers: list[Server], rng: random.Random
) -> None:
    pool = Pool(name="pool", balance=balance, hash_key="$remote_addr", servers=tuple(servers))
    selector = make_selector(pool)
    conns = [0] * len(servers)
    failing = data.draw(st.sets(st.integers(0, len(servers) - 1)))
    for client in range(30):
        left = eligible(servers, conns, failing, ())
        if not left:
            assert all(
                s.state == "disabled" or s.drained or (s.max_conns and conns[i] == s.max_conns)
                for i, s in enumerate(servers)
            )
            break
        position = selector.pick(left, conns, b"10.1.0.%d" % client, rng)
        picked = servers[position]
        conns[position] += 1
        usable = [
            i
            for i, s in enumerate(servers)
            if s.state in ("unknown", "up")
            and not s.drained
            and i not in failing
            and (not s.max_conns or conns[i] < s.max_conns or i == position)
        ]
        assert picked.state != "disabled"
        assert not picked.drained
        assert not picked.max_conns or conns[position] <= picked.max_conns
        assert position in usable or not usable
        assert not picked.backup or position not in usable or all(servers[i].backup for i in usable)


@every_balance
def test_a_session_tries_every_server_once(balance: Balance) -> None:
    pool = a_pool(balance, [3, 1, 2, 9])
    selector, tried, rng = make_selector(pool), set[int](), random.Random(1)
    conns = [0] * 4
    for _ in range(4):
        tried.add(selector.pick(eligible(pool.servers, conns, (), tried), conns, b"10.1.2.3", rng))
    assert tried == {0, 1, 2, 3}
    assert eligible(pool.servers, conns, (), tried) == []
