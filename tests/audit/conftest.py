import sys
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import make_bars

from mlfactory.audit.audit import audit
from mlfactory.audit.params import Params, Settings
from mlfactory.common.bars import Bars

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

SMALL = {"regime": {"window_bars": 300, "burn_in_bars": 60, "iterations": 5}, "mtf": {"steps": [1, 5, 15]}}


def settings(**sections: Any) -> Settings:
    """Small windows, and what a test says otherwise."""
    return Settings.model_validate({**SMALL, **sections})


def verdicts(bars: Bars, given: Settings, **params: Any) -> dict[str, dict[str, Any]]:
    """Audit a series; rows of the table by column."""
    return {row["column"]: row for row in audit(bars, given, Params(**params))["columns"]}


@pytest.fixture(scope="session")
def short() -> Bars:
    return make_bars(2600, hole=False)
