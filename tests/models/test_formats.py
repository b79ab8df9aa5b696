"""Law 9: a model file is data; whatever is in it, reading it executes nothing."""

import io
import json
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_models import problem, toy

from mlfactory.common.artifacts import sha256
from mlfactory.common.errors import InputError
from mlfactory.common.predictions import COMBINERS
from mlfactory.models.arrays import FILE as ARRAYS
from mlfactory.models.protocol import SETTINGS
from mlfactory.models.registry import load_model, models
from mlfactory.models.storage import read_arrays, read_estimator, write_arrays

ROOT = Path(__file__).parents[2]
NOISE = np.random.default_rng(0).integers(0, 256, 4096, dtype=np.uint8).tobytes()
ALL = sorted(models())
EVERY_MODEL = pytest.mark.parametrize("name", ALL)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every model, fitted and saved."""
    root = tmp_path_factory.mktemp("saved")
    for name in ALL:
        kind = load_model(name)
        data = problem(kind, combiner=models()[name].family in COMBINERS)
        kind(**toy(name)).fit(*data.train).save(root / name)
    return {name: root / name for name in ALL}


@pytest.fixture
def copy(saved: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(saved[name], tmp_path / name))


def content(folder: Path) -> Path:
    """The file that holds the fitted state: the only one besides the settings."""
    (file,) = (path for path in folder.iterdir() if path.name != SETTINGS)
    return file


def vouch(folder: Path) -> None:
    """State the hashes of the files as they are now, as whoever forged them would."""
    held = json.loads((folder / SETTINGS).read_text())
    held["files"] = {content(folder).name: sha256(content(folder))}
    (folder / SETTINGS).write_text(json.dumps(held))


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return os.mkdir, (str(self.mark),)


def bomb(mark: Path) -> bytes:
    return pickle.dumps(Bomb(mark))


def test_the_bomb_goes_off_when_it_is_unpickled(tmp_path: Path) -> None:
    pickle.loads(bomb(tmp_path / "mark"))
    assert (tmp_path / "mark").is_dir()


@EVERY_MODEL
def test_a_pickle_in_place_of_the_model_is_refused_and_not_run(
    name: str, copy: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = copy(name)
    content(folder).write_bytes(bomb(tmp_path / "mark"))
    vouch(folder)
    with pytest.raises(InputError, match=re.escape(str(content(folder)))):
        load_model(name).load(folder)
    assert not (tmp_path / "mark").exists()


@EVERY_MODEL
@pytest.mark.parametrize("damage", ["empty", "noise", "cut in half", "cut by a byte", "one bit"])
def test_a_damaged_file_is_refused(name: str, damage: str, copy: Callable[[str], Path]) -> None:
    folder = copy(name)
    file = content(folder)
    whole = file.read_bytes()
    flipped = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
    damaged = {
        "empty": b"",
        "noise": NOISE,
        "cut in half": whole[: len(whole) // 2],
        "cut by a byte": whole[:-1],
    }
    file.write_bytes(damaged.get(damage, flipped))
    with pytest.raises(InputError, match="are not the ones that were saved"):
        load_model(name).load(folder)


@EVERY_MODEL
@pytest.mark.parametrize(
    "forged", [b"", NOISE, b"{}", b"PK\x03\x04"], ids=["empty", "noise", "object", "zip"]
)
def test_a_forged_file_that_is_vouched_for_is_refused(
    name: str, forged: bytes, copy: Callable[[str], Path]
) -> None:
    folder = copy(name)
    content(folder).write_bytes(forged)
    vouch(folder)
    with pytest.raises(InputError, match="is not a model file that can be trusted"):
        load_model(name).load(folder)


@EVERY_MODEL
def test_a_missing_file_is_refused(name: str, copy: Callable[[str], Path]) -> None:
    folder = copy(name)
    content(folder).unlink()
    with pytest.raises(InputError, match="are not the ones that were saved"):
        load_model(name).load(folder)


@EVERY_MODEL
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([1, 2], "holds no hyper-parameters"),
        ({"settings": {"code": "import os"}, "features": 6}, "code is not a parameter"),
        ({"settings": {}, "features": 10**12}, "features"),
        ({"settings": {}, "features": "6"}, "features"),
        ({"settings": {}}, "features"),
    ],
)
def test_settings_of_another_shape_are_refused(
    name: str, settings: Any, message: str, copy: Callable[[str], Path]
) -> None:
    folder = copy(name)
    (folder / SETTINGS).write_text(json.dumps(settings))
    with pytest.raises(InputError, match=message):
        load_model(name).load(folder)


@EVERY_MODEL
def test_a_model_of_another_width_is_refused(name: str, copy: Callable[[str], Path]) -> None:
    folder = copy(name)
    held = json.loads((folder / SETTINGS).read_text())
    (folder / SETTINGS).write_text(json.dumps({**held, "features": 3}))
    with pytest.raises(InputError, match="is not a model file that can be trusted"):
        load_model(name).load(folder)


@EVERY_MODEL
def test_the_file_of_another_model_is_refused(
    name: str, copy: Callable[[str], Path], saved: dict[str, Path]
) -> None:
    """One of another format, and those of every model that names its file alike and holds other things."""
    folder = copy(name)
    alike = [o for o in ALL if content(saved[o]).name == content(folder).name]
    others = [next(o for o in ALL if o not in alike)]
    if content(folder).name == ARRAYS:
        others += [o for o in alike if o != name]
    for other in others:
        shutil.copyfile(content(saved[other]), content(folder))
        vouch(folder)
        with pytest.raises(InputError, match="is not a model file that can be trusted"):
            load_model(name).load(folder)


def test_a_saved_model_saved_again_has_the_same_bytes(saved: dict[str, Path], tmp_path: Path) -> None:
    for name in set(ALL) - {"catboost"}:  # whose metadata keys change their order on loading
        load_model(name).load(saved[name]).save(tmp_path / name)
        assert sha256(tmp_path / name) == sha256(saved[name]), name


def edited(file: Path, edit: Callable[[dict[str, Any], dict[str, bytes]], None]) -> None:
    """Rewrite a skops archive."""
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(entries.pop("schema.json"))
    edit(schema, entries)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("schema.json", json.dumps(schema))
        for name, value in entries.items():
            archive.writestr(name, value)


HOSTILE_NODES = {
    "a function": {
        "__class__": "mkdir",
        "__module__": "os",
        "__loader__": "FunctionNode",
        "content": "os.mkdir",
    },
    "an operator": {
        "__class__": "methodcaller",
        "__module__": "operator",
        "__loader__": "OperatorFuncNode",
        "attrs": {"__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode", "content": []},
    },
    "a type": {"__class__": "Popen", "__module__": "subprocess", "__loader__": "TypeNode"},
    "a class of scikit-learn that skops trusts": {
        "__class__": "LogisticRegression",
        "__module__": "sklearn.linear_model._logistic",
        "__loader__": "ObjectNode",
        "content": {"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode", "content": {}},
    },
    "a trusted type by a loader that is not": {
        "__class__": "ndarray",
        "__module__": "numpy",
        "__loader__": "ReduceNode",
    },
    "no type": {"__module__": "os", "__loader__": "JsonNode", "content": "1"},
}


@pytest.mark.parametrize("node", list(HOSTILE_NODES))
def test_a_skops_file_that_names_anything_but_a_forest_is_refused(
    node: str, copy: Callable[[str], Path]
) -> None:
    folder = copy("random_forest")

    def edit(schema: dict[str, Any], _: dict[str, bytes]) -> None:
        schema["content"]["content"]["verbose"] = HOSTILE_NODES[node]

    edited(content(folder), edit)
    vouch(folder)
    with pytest.raises(InputError, match="it names"):
        load_model("random_forest").load(folder)


def trees(entries: dict[str, bytes]) -> Iterator[tuple[str, np.ndarray]]:
    for name, value in entries.items():
        array = np.load(io.BytesIO(value))
        if array.dtype.names:
            yield name, array


@pytest.mark.parametrize(
    ("field", "value"), [("left_child", 10**9), ("left_child", 0), ("right_child", -7), ("feature", 10**6)]
)
def test_a_tree_that_points_outside_itself_is_refused(
    field: str, value: int, copy: Callable[[str], Path]
) -> None:
    folder = copy("random_forest")

    def edit(_: dict[str, Any], entries: dict[str, bytes]) -> None:
        name, nodes = next(trees(entries))
        nodes[field][0] = value
        out = io.BytesIO()
        np.save(out, nodes)
        entries[name] = out.getvalue()

    edited(content(folder), edit)
    vouch(folder)
    with pytest.raises(InputError, match="a node"):
        load_model("random_forest").load(folder)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_an_xgboost_file_that_is_cut_short_and_vouched_for_is_refused(
    share: float, copy: Callable[[str], Path]
) -> None:
    folder = copy("xgboost")
    whole = content(folder).read_bytes()
    content(folder).write_bytes(whole[: int(share * len(whole))])
    vouch(folder)
    with pytest.raises(InputError, match="cut short"):
        load_model("xgboost").load(folder)


@pytest.mark.parametrize("key", ["left_children", "split_indices"])
def test_an_xgboost_tree_that_points_outside_itself_is_refused(key: str, copy: Callable[[str], Path]) -> None:
    folder = copy("xgboost")
    whole = content(folder).read_bytes()
    start = whole.index(b"[$l#L", whole.index(key.encode())) + 5 + 8  # type, then the length in 8 bytes
    content(folder).write_bytes(whole[:start] + (10**6).to_bytes(4, "big") + whole[start + 4 :])
    vouch(folder)
    with pytest.raises(InputError, match="a node"):
        load_model("xgboost").load(folder)


def test_a_pickle_inside_an_array_of_a_skops_file_is_refused(
    copy: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = copy("random_forest")

    def edit(_: dict[str, Any], entries: dict[str, bytes]) -> None:
        out = io.BytesIO()
        np.save(out, np.array([Bomb(tmp_path / "mark")], dtype=object), allow_pickle=True)
        entries[next(trees(entries))[0]] = out.getvalue()

    edited(content(folder), edit)
    vouch(folder)
    with pytest.raises(InputError):
        load_model("random_forest").load(folder)
    assert not (tmp_path / "mark").exists()


def test_an_estimator_is_read_only_when_the_list_names_all_of_it(saved: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="RandomForestClassifier"):
        read_estimator(content(saved["random_forest"]), frozenset({"builtins.dict"}))


def test_arrays_come_back_bit_for_bit_and_only_the_named_ones(tmp_path: Path) -> None:
    arrays = {"b": np.array([0.1, np.nextafter(0.1, 1)]), "a": np.arange(6, dtype=np.int64).reshape(2, 3).T}
    write_arrays(tmp_path / "x", arrays)
    found = read_arrays(tmp_path / "x", ("a", "b"))
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    with pytest.raises(InputError, match="expected"):
        read_arrays(tmp_path / "x", ("a",))


FORBIDDEN = re.compile(
    r"\b(import|from)\s+(pickle|joblib|dill|cloudpickle|marshal|shelve)\b|torch\.(load|save)\(|allow_pickle\s*=\s*True"
    r"|pickle\.|joblib\.|\.read_pickle\(|\.to_pickle\("
)


def offending(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if FORBIDDEN.search(line)]


@pytest.mark.parametrize("folder", ["components", "pipelines"])
def test_no_source_reads_or_writes_pickles(folder: str) -> None:
    files = list((ROOT / folder).rglob("*.py"))
    assert len(files) > 3
    assert {str(file): found for file in files if (found := offending(file.read_text()))} == {}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import dump",
        "torch.load(path)",
        "np.load(f, allow_pickle=True)",
        "pd.read_pickle(f)",
    ],
)
def test_a_pickle_in_a_source_would_be_caught(line: str) -> None:
    assert offending(f"x = 1\n    {line}\n") == [line]
