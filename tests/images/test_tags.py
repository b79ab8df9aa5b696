"""A tag changes with everything that its image is made of, and with nothing else."""

import os
import shutil
from pathlib import Path

import pytest

from mlfactory.common.errors import InputError
from mlfactory.common.images import IMAGES, TAG, tag

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of all that tags are made of."""
    unwanted = shutil.ignore_patterns("__pycache__", "*.whl", "*.crt")
    for folder in ("components/mlfactory", "images"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder, ignore=unwanted)
    shutil.copy(REPOSITORY / "constraints.txt", tmp_path)
    return tmp_path


def changed_by(file: str, repository: Path) -> set[str]:
    """Name the images whose tag changes with one more line in ``file``."""
    before = {name: tag(name, repository) for name in IMAGES}
    path = repository / file
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write("\n# one more line\n")
    return {name for name in IMAGES if tag(name, repository) != before[name]}


TRAINING = {name for name in IMAGES if name.startswith("train-")}


@pytest.mark.parametrize(
    ("file", "images"),
    [
        ("images/Dockerfile", set(IMAGES)),
        ("constraints.txt", set(IMAGES)),
        ("images/common/requirements.txt", set(IMAGES)),
        ("components/mlfactory/common/bars.py", set(IMAGES)),
        ("components/mlfactory/__init__.py", set(IMAGES)),
        ("images/labels/requirements.txt", {"labels"}),
        ("components/mlfactory/labels/stage.py", {"labels", "audit"}),
        ("components/mlfactory/features/groups/planted.py", {"features", "audit"}),
        ("components/mlfactory/ingest/planted.yaml", {"ingest"}),
        ("components/mlfactory/train/stage.py", TRAINING),
        ("components/mlfactory/models/registry.py", {*TRAINING, "stacking"}),
        ("components/mlfactory/models/boosting/planted.py", {"train-boosting", "stacking"}),
    ],
)
def test_a_changed_file_renames_the_images_that_hold_it(
    file: str, images: set[str], repository: Path
) -> None:
    assert changed_by(file, repository) == images


@pytest.mark.parametrize(
    "file",
    [
        "README.md",
        "images/build.py",
        "images/wheels/some.whl",
        "components/mlfactory/labels/__pycache__/stage.cpython-311.pyc",
        "components/mlfactory/labels/.stage.py.swp",
    ],
)
def test_a_file_outside_the_images_renames_none(file: str, repository: Path) -> None:
    assert changed_by(file, repository) == set()


def test_a_renamed_file_renames_the_image(repository: Path) -> None:
    before = tag("labels", repository)
    file = repository / "components/mlfactory/labels/params.py"
    file.rename(file.with_name("parameters.py"))
    assert tag("labels", repository) != before


def test_tags_know_neither_the_folder_nor_the_times_of_the_files(repository: Path) -> None:
    for file in repository.rglob("*.py"):
        os.utime(file, (0, 0))
    assert [tag(name, repository) for name in IMAGES] == [tag(name, REPOSITORY) for name in IMAGES]


def test_images_of_different_content_have_different_tags() -> None:
    assert len({tag(name) for name in IMAGES}) == len(IMAGES)


def test_outside_the_repository_the_tag_is_stated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TAG, "1.2.3")
    assert tag("labels", tmp_path) == "1.2.3"


def test_outside_the_repository_a_missing_tag_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TAG, raising=False)
    with pytest.raises(
        InputError, match=r"install the repository in place \(pip install -e\) or set MLF_TAG"
    ):
        tag("labels", tmp_path)


def test_a_models_or_groups_file_of_ones_own_changes_the_steps_that_load_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cached results of a file that has changed are never served."""
    before = {name: tag(name) for name in IMAGES}

    def changed(variable: str, file: str) -> set[str]:
        path = tmp_path / variable / file
        path.parent.mkdir(parents=True)
        path.write_text("x = 1")
        monkeypatch.setenv(variable, str(tmp_path / variable))
        first = {name: tag(name) for name in IMAGES}
        path.write_text("x = 2")
        second = {name: tag(name) for name in IMAGES}
        monkeypatch.delenv(variable)
        touched = {name for name in IMAGES if before[name] != first[name]}
        assert touched == {name for name in IMAGES if first[name] != second[name]}
        return touched

    assert changed("MLF_FEATURE_GROUPS", "mine.py") == {"features", "audit"}
    assert changed("MLF_MODELS", "neural/mine.py") == {"train-neural", "stacking"}
