"""The OpenID Foundation's Basic, Config, RP-initiated logout and FAPI 2 modules, driven by the npm `openid-client`.

Every name is a module of the Foundation's suite; `docs/reference/conformance.md` says which are left out and why.
"""

import pytest
from tests.conformance.conftest import Outcome
from tests.conformance.modules import MODULES


@pytest.mark.parametrize("module", MODULES)
def test_module(module: str, outcomes: dict[str, Outcome]) -> None:
    assert module in outcomes, f"no test of that name ran; there are {sorted(outcomes)}"
    assert outcomes[module].status == "passed", outcomes[module].error


def test_the_names_of_the_bar_are_what_ran(outcomes: dict[str, Outcome]) -> None:
    assert len(MODULES) == len(set(MODULES)) == 60
    assert set(outcomes) == set(MODULES)
