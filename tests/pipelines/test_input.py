"""Bad input ends a command with one line and exit code 2, before anything is written."""

from pathlib import Path

import pandas as pd
import pytest
from tests.conftest import make_bars
from tests.pipelines.conftest import Command

from mlfactory.common.bars import timestamps
from mlfactory.common.errors import InputError
from mlfactory_pipelines import cli, preflight
from mlfactory_pipelines.plan import resolve


def series(n: int) -> pd.DataFrame:
    bars = make_bars(n, hole=False)
    columns = {name: getattr(bars, name) for name in ("open", "high", "low", "close", "volume")}
    return pd.DataFrame({"timestamp": timestamps(bars.minute), **columns})


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    good = series(400)
    good.to_csv(folder / "short.csv", index=False)
    good.drop(columns="close").to_csv(folder / "no_close.csv", index=False)
    good.drop(columns="close").to_parquet(folder / "no_close.parquet")
    (folder / "empty.csv").touch()
    (folder / "header.csv").write_text("timestamp,open,high,low,close,volume\n")
    (folder / "torn.parquet").write_bytes(b"PAR1" + bytes(40))
    for name in ("noise.csv", "noise.yaml"):
        (folder / name).write_bytes(bytes(range(128, 256)))
    (folder / "own.yaml").write_text("TOY: {tick_size: 0.25}\n")
    (folder / "mine.yaml").write_text("NQ: {commission_ticks: 1}\n")
    (folder / "american.csv").write_text("timestamp,open,high,low,close,volume\n01/02/2024 09:30,1,1,1,1,1\n")
    (folder / "list.yaml").write_text("- TOY\n")
    return folder


BAD = {
    "a missing file": (["--bars", "{files}/none.csv"], "none.csv does not exist"),
    "a folder": (["--bars", "{files}"], "is not a file"),
    "times that cannot be read": (["--bars", "{files}/american.csv"], "'01/02/2024 09:30'; state the layout"),
    "an empty file": (["--bars", "{files}/empty.csv"], "empty.csv is empty"),
    "a file without rows": (["--bars", "{files}/header.csv"], "header.csv holds no rows"),
    "a torn file": (["--bars", "{files}/torn.parquet"], "torn.parquet is not a readable Parquet file"),
    "a file of noise": (["--bars", "{files}/noise.csv"], "noise.csv"),
    "a CSV without a column": (["--bars", "{files}/no_close.csv"], "'close'"),
    "a Parquet without a column": (["--bars", "{files}/no_close.parquet"], "'close'"),
    "too few bars": (["--bars", "{files}/short.csv"], "400 bars of 1 min are too few"),
    "too few last bars": (["--last", "300"], "300 bars of 1 min are too few"),
    "a negative last": (["--last", "-1"], "ingest.last is -1"),
    "an unknown symbol": (["--symbol", "EZ"], "MES"),
    "an instrument that the file lacks": (["--instruments", "{files}/own.yaml", "--symbol", "X"], "TOY"),
    "an instrument without fields": (
        ["--instruments", "{files}/own.yaml", "--symbol", "TOY"],
        "TOY.tick_value is missing",
    ),
    "instruments that are a list": (["--instruments", "{files}/list.yaml", "--symbol", "X"], "list.yaml"),
    "no instruments": (["--instruments", "{files}/none.yaml", "--symbol", "X"], "none.yaml"),
    "a model with a typo": (["--models", "lightgbm,logistc"], "logistic"),
    "an unknown key": (["--set", "labels.horizon=5"], "horizons"),
    "an unknown section": (["--set", "label.horizons=5"], "labels"),
    "a horizon without barriers": (["--set", "labels.horizons=[7]"], "labels.barriers.7"),
    "an unknown column": (["--set", "features.exclude=[rsi_1]"], "rsi_1"),
    "an unknown group": (["--set", "features.groups=[oscillators]"], "momentum"),
    "a step that the bars cannot give": (["--set", "mtf.steps=[0]"], "mtf.steps"),
    "a timeframe that the ladder lacks": (
        ["--set", "mtf.steps=[1, 5]"],
        "dataset.timeframes names 15, 60, which mtf does not have; known: 1, 5",
    ),
    "an option of a combiner that is not fitted": (
        ["--set", "stacking.combiners=[voting]", "--set", "model.meta_mlp.epochs=3"],
        "meta_mlp is not fitted in this run; its combiners: voting",
    ),
    "folds of another scheme": (
        ["--set", "dataset.train_blocks=2"],
        "dataset.train_blocks is 2: only the scheme walk_forward has it; it is kfold",
    ),
    "folds without training rows": (
        ["--set", "dataset.scheme=combinatorial", "--set", "dataset.held_out_blocks=9"],
        "dataset.held_out_blocks is 9 of",
    ),
    "a feature set of a missing column": (
        ["--set", "dataset.feature_sets.neural_optimal=[rsi_99]"],
        "rsi_99",
    ),
    "a weight that does not exist": (
        ["--set", "reading.lightgbm.weights.by=volume"],
        "weights.by is 'volume'",
    ),
    "an unknown preset": (["--preset", "huge"], "default, full, gpu, smoke"),
    "no folder to resume": (["--resume"], "holds no run to resume"),
    "an unknown option": (["--bar", "x"], "--bar"),
    "a seed that is a word": (["--seed", "one"], "--seed"),
    "an unknown runner": (["--runner", "podman"], "docker"),
    "no model": (["--models", ","], "names no model"),
    "an option of a model that is not trained": (
        ["--models", "lightgbm", "--set", "model.xgboost.rounds=3"],
        "xgboost is not trained in this run; its models: lightgbm",
    ),
    "an unknown combiner": (["--set", "stacking.combiners=[mean]"], "known: blending, meta_calibrated"),
    "a negative seed": (["--seed", "-1"], "error: seed is -1"),
    "a word in place of a list": (
        ["--set", "models=lightgbm"],
        "models is 'lightgbm': Input should be a valid list",
    ),
    "instruments without a symbol": (["--instruments", "{files}/mine.yaml"], "needs --symbol, one of: NQ"),
    "a preset of noise": (["--preset", "{files}/noise.yaml"], "noise.yaml is not YAML"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_answered_in_one_line(
    case: str, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, told = BAD[case]
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as end:
        cli.main(["run", "--out", str(out), *(part.format(files=files) for part in arguments)])
    said = capsys.readouterr()
    assert end.value.code == 2
    assert told in said.err
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert not out.exists()


def test_a_folder_with_something_in_it_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(SystemExit) as end:
        cli.main(["run", "--out", str(tmp_path)])
    assert end.value.code == 2
    assert "exists and is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.touch()
    with pytest.raises(InputError, match="is a file; expected a folder"):
        preflight.check_out(path, resume=False)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file" / "out", Path("/proc/out")):
        with pytest.raises(SystemExit) as end:
            cli.main(["run", "--preset", "smoke", "--out", str(out)])
        assert end.value.code == 2
        said = capsys.readouterr().err
        assert said.startswith(f"error: --out {out} cannot be created")
        assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-o", "{folder}/x.txt"], "must end with .yaml"),
        (["-o", "{folder}/none/x.yaml"], "its folder does not exist"),
        (["-o", "{folder}/folder.yaml"], "is a folder"),
        (["-o", "/proc/x.yaml"], "/proc/x.yaml"),
        (["-o", "{folder}/x.yaml", "--symbol", "EZ"], "MES"),
        (["-o", "{folder}/x.yaml", "--registry", "not a registry"], "cannot precede an image name"),
    ],
)
def test_compiling_to_nowhere_or_for_nothing_is_answered_in_one_line(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(SystemExit) as end:
        cli.main(["compile", *(part.format(folder=tmp_path) for part in arguments)])
    said = capsys.readouterr().err
    assert end.value.code in {1, 2}
    assert told in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["folder.yaml"]


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        preflight.sole_run(tmp_path),
        pytest.raises(InputError, match="another run is going on"),
        preflight.sole_run(tmp_path),
    ):
        pass
    with preflight.sole_run(tmp_path):
        pass


def test_resume_needs_to_know_what(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["run", "--resume"])
    assert end.value.code == 2
    assert "--out" in capsys.readouterr().err


def test_docker_without_an_engine_is_answered_in_one_line(tmp_path: Path, mlfactory: Command) -> None:
    arguments = ("--preset", "smoke", "--runner", "docker", "--out", tmp_path / "out")
    done = mlfactory("run", *arguments, DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --runner docker needs a Docker engine")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_bound_on_bars_grows_with_folds_stride_and_windows() -> None:
    def least(**sections: object) -> int:
        return sum(preflight.fewest_rows(resolve(dict(sections)), 1))

    base = least()
    assert least(dataset={"n_folds": 20}) > base
    assert least(dataset={"stride": 8}) > base
    assert least(regime={"window_bars": 5000}) > base
    assert least(regime={"window_bars": 500}) < base


def test_the_bound_on_bars_counts_the_smallest_part() -> None:
    # 20 rows must be held out: of 50 % development rows in 2 folds these are a quarter of all rows; the inner
    # rows, 80 % of the other quarter, are fewer: 20 / (0.5 * 0.5 * 0.8) = 100
    data = {"test_fraction": 0.5, "n_folds": 2, "inner_fraction": 0.8, "stride": 3}
    assert preflight.fewest_rows(resolve({"dataset": data}), 1)[1] == 300


def test_the_bound_on_bars_knows_the_scheme() -> None:
    def least(**data: object) -> int:
        return preflight.fewest_rows(resolve({"dataset": {"inner_fraction": 0, "stride": 1, **data}}), 1)[1]

    # 80 % development rows: a fold of five holds 16 % out; two of five blocks are left when three are held out
    assert least(n_folds=5) == 125
    assert least(n_folds=5, scheme="walk_forward") == 150
    assert least(n_folds=5, scheme="combinatorial", held_out_blocks=4) == 125
    assert least(n_folds=10, scheme="combinatorial", held_out_blocks=9) == 250


def test_an_input_is_kept_by_its_content(tmp_path: Path) -> None:
    file = tmp_path / "bars.csv.gz"
    file.write_bytes(b"one")
    first, version = preflight.stow(str(file), tmp_path / "root")
    again, _ = preflight.stow(str(file), tmp_path / "root")
    file.write_bytes(b"two")
    second, other = preflight.stow(str(file), tmp_path / "root")
    assert first == again != second
    assert version != other
    assert Path(first).read_bytes() == b"one"
    assert Path(first).name == f"{version}.csv.gz"


def test_the_embedded_series_is_not_copied(tmp_path: Path) -> None:
    assert preflight.stow("synthetic:", tmp_path) == ("synthetic:", "")
    assert list(tmp_path.iterdir()) == []
