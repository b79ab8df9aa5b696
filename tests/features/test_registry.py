"""A feature group is one file: found, listed and computed; mistakes in it are named."""

from pathlib import Path

import feature_chain as chain
import numpy as np
import pytest
from tests.conftest import make_bars

from mlfactory.common.errors import InputError
from mlfactory.features.compute import plan
from mlfactory.features.params import Params
from mlfactory.features.registry import EXTRA_FOLDERS, catalogue, extra_files, group_files, load
from mlfactory.features.segment import Setting

GROUPS = {
    *(
        "returns",
        "price",
        "moving_averages",
        "momentum",
        "volatility",
        "moments",
        "autocorrelation",
        "volume",
    ),
    *("trend", "candles", "temporal", "regime", "microstructure", "wavelets", "mtf"),
}
ONE_FILE = '''
"""Gaps between bars."""
import numpy as np
from mlfactory.features.registry import feature


@feature({"gap_1": 2, "gap_2": 3}, unit="price", source="nobody")
def gaps(x):
    """Open against the close k bars before."""
    close = np.r_[x.close[:1], x.close]
    return [x.open - close[:-1], x.open - np.r_[close[:1], close][:-2]]
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "gaps.py").write_text(ONE_FILE)
    monkeypatch.setenv(EXTRA_FOLDERS, str(tmp_path))
    return tmp_path


def test_the_groups_are_those_of_the_design() -> None:
    assert set(group_files()) == GROUPS


def test_there_are_180_base_columns_and_14_per_ladder_step() -> None:
    columns = catalogue(Setting(regime={"hmm_state": 100}), ())
    models = [c for c in columns if not c["level"]]
    assert len([c for c in models if c["group"] != "mtf"]) >= 180
    for step in Setting().steps:
        assert len([c for c in models if c["group"] == "mtf" and c["name"].endswith(f"_{step}m")]) >= 14


def test_every_column_states_what_it_is() -> None:
    for column in catalogue(Setting(regime={"hmm_state": 100}), ()):
        assert column["lookback"] >= 1
        assert column["unit"]
        assert column["source"]
        assert column["about"].endswith((".", "flat"))


def test_a_new_group_is_one_file(folder: Path) -> None:
    listed = [c for c in catalogue() if c["group"] == "gaps"]
    assert [(c["name"], c["lookback"], c["source"]) for c in listed] == [
        ("gap_1", 2, "nobody"),
        ("gap_2", 3, "nobody"),
    ]
    assert extra_files() == {"gaps": folder / "gaps.py"}
    bars = make_bars(300, hole=False)
    found = chain.table(bars, folders=[folder], groups=["gaps"])
    assert np.isnan(found["gap_2"][:2]).all()
    np.testing.assert_allclose(found["gap_2"][2:], bars.open[2:] - bars.close[:-2])


def test_a_group_that_exists_already_is_refused(tmp_path: Path) -> None:
    (tmp_path / "volume.py").write_text(ONE_FILE)
    with pytest.raises(
        InputError, match=r"feature group 'volume' is defined by .*volume.py and by .*volume.py"
    ):
        load([tmp_path])


def test_a_column_that_exists_already_is_refused(tmp_path: Path) -> None:
    (tmp_path / "extra.py").write_text(ONE_FILE.replace("gap_1", "rsi_14"))
    with pytest.raises(InputError, match=r"column 'rsi_14' is yielded by group 'extra' and by 'momentum'"):
        catalogue(folders=[tmp_path])
    with pytest.raises(InputError, match=r"column 'rsi_14' is yielded by group 'extra' and by 'momentum'"):
        plan(load([tmp_path]), Setting(), Params())


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"MLF_FEATURE_GROUPS names .*nowhere, which is not a folder"):
        group_files([tmp_path / "nowhere"])


def test_a_function_that_returns_too_few_columns_is_named(tmp_path: Path) -> None:
    (tmp_path / "gaps.py").write_text(ONE_FILE.replace(", x.open - np.r_[close[:1], close][:-2]]", "]"))
    with pytest.raises(InputError, match=r"feature gaps\.gaps returns 1 arrays for 2 columns"):
        chain.table(make_bars(300), folders=[tmp_path], groups=["gaps"])


def test_a_column_that_is_not_finite_is_named_with_its_bar(tmp_path: Path) -> None:
    (tmp_path / "gaps.py").write_text(ONE_FILE.replace("x.open - close[:-1]", "np.log(x.open - x.open[150])"))
    with pytest.raises(InputError, match=r"feature 'gap_1' of group 'gaps' is (nan|-inf) at the bar of 20"):
        chain.table(make_bars(300), folders=[tmp_path], groups=["gaps"], check=True)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"groups": ["volum"]},
            "features.groups holds 'volum', which does not exist; known: autocorrelation, ",
        ),
        ({"exclude": ["rsi_15"]}, "features.exclude holds 'rsi_15', which does not exist; close to it: rsi_"),
        ({"groups": ["regime"]}, "leave no column"),
    ],
)
def test_an_unknown_or_empty_selection_is_refused(params: dict[str, list[str]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan(load(()), Setting(), Params(**params))


def test_a_selection_computes_only_what_it_names() -> None:
    chosen = plan(load(()), Setting(), Params(groups=["momentum", "price"], exclude=["clv"], levels=False))
    names = [column.name for column in chosen.columns]
    assert {column.group for column in chosen.columns} == {"momentum", "price"}
    assert "clv" not in names
    assert "open_location" in names
    assert {f.group for f, _ in chosen.work} == {"momentum", "price"}


def test_a_series_without_volume_switches_columns_off_by_name() -> None:
    chosen = plan(load(()), Setting(has_volume=False), Params())
    off = {column.name for column in chosen.switched_off}
    assert {"mfi_14", "vwap", "vpin_50", "amihud_20", "volume_ratio_20_15m", "wave_volume_d1"} <= off
    assert off.isdisjoint(column.name for column in chosen.columns)
