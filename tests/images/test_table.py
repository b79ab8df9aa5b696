"""The table of images agrees with the components, the stage folders, the requirements and the extras."""

import importlib
import tomllib
from pathlib import Path
from typing import Any

import pytest
from kfp.dsl.base_component import BaseComponent

from mlfactory.common.errors import InputError
from mlfactory.common.images import IMAGES, REGISTRY, image

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "components" / "mlfactory"
FACES = sorted(PACKAGE.glob("*/component.py"))
NOT_STAGES = {"common", "models", "__pycache__"}
NOT_IMAGES = {"common", "wheels", "certs", "__pycache__"}


def project() -> dict[str, Any]:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


def images_of(face: Path) -> set[str]:
    module = importlib.import_module(f"mlfactory.{face.parent.name}.component")
    found: list[Any] = list(vars(module).values())
    found += [item for value in found if isinstance(value, dict) for item in value.values()]
    components = [value for value in found if isinstance(value, BaseComponent)]
    return {component.component_spec.implementation.container.image for component in components}


def test_every_component_runs_in_an_image_of_the_table_and_every_image_runs_a_component() -> None:
    used = {reference for face in FACES for reference in images_of(face)}
    assert used == {image(name) for name in IMAGES}


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.parent.name)
def test_a_component_runs_in_an_image_that_holds_its_stage(face: Path) -> None:
    stages = {row.stage for name, row in IMAGES.items() if image(name) in images_of(face)}
    assert stages == {face.parent.name}


def test_every_stage_folder_has_an_image() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir()} - NOT_STAGES
    assert folders == {row.stage for row in IMAGES.values()}


def test_every_image_has_a_folder_with_its_requirements_and_every_folder_an_image() -> None:
    folders = {path.name for path in (REPOSITORY / "images").iterdir() if path.is_dir()} - NOT_IMAGES
    assert folders == set(IMAGES)
    assert all((REPOSITORY / "images" / name / "requirements.txt").is_file() for name in folders)


def test_every_training_family_has_an_image_of_its_own() -> None:
    families = [row.models for row in IMAGES.values() if row.stage == "train"]
    folders = {path.parent.name for path in (PACKAGE / "models").glob("*/*.py") if path.stem != "__init__"}
    assert sorted(family for row in families for family in row) == sorted(folders - {"ensemble", "meta"})


def test_the_extras_read_the_requirements_of_the_images() -> None:
    extras = project()["tool"]["setuptools"]["dynamic"]["optional-dependencies"]
    files = {name: [f"images/{name}/requirements.txt"] for name in IMAGES}
    files["pipelines"] = ["pipelines/requirements.txt"]
    files["all"] = [file for name in files for file in files[name]]
    files["dev"] = ["tests/requirements.txt"]
    assert {name: extra["file"] for name, extra in extras.items()} == files


def test_the_import_contract_names_every_stage() -> None:
    contracts = project()["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract["id"] == "layers"]
    *stages, models, kernel = (set(layer.split(" | ")) for layer in layers)
    assert set().union(*stages) == {row.stage for row in IMAGES.values()}
    assert (models, kernel) == ({"models"}, {"common"})


def test_an_image_uses_only_stages_below_its_own() -> None:
    contracts = project()["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract["id"] == "layers"]
    height = {name: -k for k, layer in enumerate(layers) for name in layer.split(" | ")}
    assert [row.stage for row in IMAGES.values() if row.uses] == ["audit"]
    assert all(height[used] < height[row.stage] for row in IMAGES.values() for used in row.uses)


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_name_holds_the_word_python_and_a_content_hash(name: str) -> None:
    repository, _, tag = image(name).partition(":")
    assert repository == f"mlfactory/python-{name}"
    assert len(tag) >= 12
    assert int(tag, 16) >= 0


def test_a_registry_stands_before_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = image("labels")
    monkeypatch.setenv(REGISTRY, "registry.example/team/")
    assert image("labels") == f"registry.example/team/{plain}"


def test_an_unknown_image_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        InputError, match=r"image 'label' is not in the table; known: audit, dataset, features, ingest"
    ):
        image("label")
