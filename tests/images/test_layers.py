"""Images that install the same share the layer that holds it."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from mlfactory.common.images import IMAGES

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("images_build", REPOSITORY / "images" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_families_of_networks_are_built_on_one_installation(builder: ModuleType) -> None:
    networks = ("train-neural", "train-cnn", "train-transformer")
    assert {builder.same_requirements(name) for name in networks} == {"train-neural"}


@pytest.mark.parametrize("name", IMAGES)
def test_a_shared_installation_is_what_the_image_lists(builder: ModuleType, name: str) -> None:
    shared = builder.same_requirements(name)
    files = [REPOSITORY / "images" / each / "requirements.txt" for each in (shared, name)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_no_stage_of_the_build_before_the_installation_knows_the_image() -> None:
    dockerfile = (REPOSITORY / "images" / "Dockerfile").read_text(encoding="utf-8")
    stage = dockerfile[dockerfile.index("AS stage-build") : dockerfile.index("AS code")]
    assert "${REQUIREMENTS}" in stage
    assert "STAGE" not in stage.replace("stage-build", "")
