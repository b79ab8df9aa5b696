"""A folder is a family, a file is a model: what the registry sees, and what seeing costs."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

import mlfactory
from mlfactory.common.errors import InputError
from mlfactory.common.predictions import COMBINERS
from mlfactory.models.registry import (
    FAMILIES,
    FEATURE_SETS,
    family_of,
    load_model,
    models,
    source_version,
)

EVERY_MODEL = pytest.mark.parametrize("name", sorted(models()))
PROGRAM = """
import sys
from mlfactory.models.registry import load_model, models
for name in models():
    load_model(name)()
heavy = {"torch", "xgboost", "lightgbm", "catboost", "sklearn", "scipy", "skops", "safetensors", "numba", "kfp"}
print(len(models()), sorted(heavy & set(sys.modules)))
"""
MODEL = '''
from dataclasses import dataclass
from typing import ClassVar
from mlfactory.models.protocol import Model

@dataclass
class Mine(Model):
    """A model of my own."""
    source: ClassVar[str] = "me (2026)"
    rate: float = 0.5
    def fit(self, X, y, weight, validation=None): return self
    def predict_proba(self, X): ...
    def write(self, folder): ...
    def read(self, folder): ...

MODEL = Mine
'''


@pytest.fixture
def extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], None]:
    def add(family: str, name: str, text: str) -> None:
        (tmp_path / family).mkdir(exist_ok=True)
        (tmp_path / family / f"{name}.py").write_text(text)
        monkeypatch.setenv("MLF_MODELS", os.fspath(tmp_path))

    return add


def test_listing_and_making_models_loads_none_of_their_libraries() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(mlfactory.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.split() == [str(len(models())), "[]"]


@EVERY_MODEL
def test_a_model_says_what_it_is(name: str) -> None:
    info = models()[name]
    assert info.name == name == info.path.stem
    assert info.family == info.path.parent.name == family_of(name)
    assert info.input in ("tabular", "sequence", "multi_resolution")
    assert info.device in ("cpu", "gpu")
    assert info.doc.endswith(".")
    assert info.source[-1].isalnum()
    assert "(" in info.source
    if info.family in COMBINERS:
        assert info.feature_set == "probabilities"
    else:
        assert info.feature_set == FEATURE_SETS[info.family]


@EVERY_MODEL
def test_the_fields_of_a_model_are_its_parameters_and_their_defaults_the_only_ones(name: str) -> None:
    model = load_model(name)()
    assert {**models()[name].defaults, "seed": 0} == model.settings()
    assert all(spec.name.endswith("_") for spec in fields(model) if not spec.init)


def test_every_family_folder_is_known() -> None:
    package = Path(mlfactory.__file__).parent / "models"
    folders = {path.name for path in package.iterdir() if (path / "__init__.py").is_file()}
    assert folders <= set(FAMILIES)
    assert {info.family for info in models().values()} <= folders


def test_a_file_in_another_folder_is_a_model(extra: Callable[[str, str, str], None]) -> None:
    before = set(models())
    extra("neural", "mine", MODEL)
    assert set(models()) - before == {"mine"}
    info = models()["mine"]
    assert (info.family, info.feature_set, info.doc) == ("neural", "neural_optimal", "A model of my own.")
    assert info.defaults == {"rate": 0.5}
    assert load_model("mine")(rate=0.1).settings() == {"rate": 0.1, "seed": 0}


def test_an_unknown_model_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(
        InputError, match=r"model 'xgbost' is not in the registry; known: .*catboost.*, xgboost"
    ):
        load_model("xgbost")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("xgboost", MODEL, "two files define the model 'xgboost'"),
        ("empty", "x = 1", "defines no MODEL"),
        ("wrong", "MODEL = dict", "defines no MODEL"),
    ],
)
def test_a_file_that_is_no_model_is_named(
    extra: Callable[[str, str, str], None], name: str, text: str, message: str
) -> None:
    extra("boosting", name, text)
    with pytest.raises(InputError, match=message):
        models()


def test_a_missing_extra_folder_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLF_MODELS", "/no/such/folder")
    with pytest.raises(InputError, match="MLF_MODELS names /no/such/folder"):
        models()


def test_the_version_of_a_model_changes_with_its_file(extra: Callable[[str, str, str], None]) -> None:
    extra("neural", "mine", MODEL)
    first = source_version("mine")
    extra("neural", "mine", MODEL + "\n# another\n")
    assert source_version("mine") != first
    assert source_version("xgboost") == source_version("xgboost") != first
