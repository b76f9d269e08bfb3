from __future__ import annotations

import pytest

from tests.mutants.targets import TargetFault, targets


def test_a_module_is_guarded_by_its_own_test_first_and_by_those_of_its_folder_that_import_it() -> None:
    (target,) = targets(["balance/eligible"])
    assert (target.name, target.module, target.held) == ("balance/eligible", "kubelb.balance.eligible", True)
    first, *others = (file.name for file in target.tests)
    assert first == "test_eligible.py"
    assert "test_selector.py" in others
    assert "test_ramp.py" not in others


def test_a_folder_stands_for_its_modules_and_nothing_for_those_that_are_held() -> None:
    balance = {target.name for target in targets(["balance"])}
    held = {target.name for target in targets([])}
    assert "balance/eligible" in balance
    assert balance | {"worker/dialplan"} < held
    assert not any(target.held for target in targets(["relay/wheel"]))


@pytest.mark.parametrize("name", ["nonsense", "balance/nonsense", "worker/acceptor"])
def test_what_is_no_module_or_has_no_pure_test_is_refused(name: str) -> None:
    with pytest.raises(TargetFault):
        targets([name])
