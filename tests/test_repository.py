"""What a reader of the repository relies on: its folders, its licence, its commands, and that it fits any machine."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOME = re.compile(r"(?<![\w.$}/-])/(?:work|home|root|Users|mnt)/\w")
HOSTS = re.compile(
    "|".join(
        (
            r"pypi\.org",
            r"pythonhosted",
            r"docker\.io",
            r"quay\.io",
            r"ghcr\.io",
            r"gcr\.io",
            r"conda\.anaconda",
        )
    )
)
CODE_IN_FILES = re.compile(r"\b(?:pickle|joblib|cloudpickle|dill|marshal)\b")


def tracked() -> list[Path]:
    """All files under version control that are text."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listing.stdout.split("\0") if name]
    return [file for file in files if file.is_file() and b"\0" not in file.read_bytes()[:1024]]


def lines_with(pattern: re.Pattern[str], files: list[Path]) -> list[str]:
    return [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in files
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]


@pytest.mark.parametrize("name", ["components", "pipelines", "images", "manifests", "tests"])
def test_the_top_level_folders_exist(name: str) -> None:
    assert (ROOT / name).is_dir()


@pytest.mark.parametrize(
    "name", ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "Makefile", "constraints.txt"]
)
def test_the_top_level_files_exist(name: str) -> None:
    assert (ROOT / name).stat().st_size > 0


def test_the_license_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_no_tracked_file_names_a_folder_of_some_machine() -> None:
    assert lines_with(HOME, [file for file in tracked() if file != Path(__file__)]) == []


def test_no_tracked_file_names_a_package_index_or_an_image_registry() -> None:
    assert lines_with(HOSTS, [file for file in tracked() if file != Path(__file__)]) == []


def test_no_source_uses_a_format_that_executes_code_when_it_is_read() -> None:
    sources = [
        file for file in tracked() if file.suffix == ".py" and "tests" not in file.relative_to(ROOT).parts
    ]
    imports = re.compile(rf"^\s*(?:import|from)\s+{CODE_IN_FILES.pattern}")
    allowed = re.compile(r"allow_pickle\s*=\s*True")
    assert lines_with(imports, sources) == []
    assert lines_with(allowed, sources) == []


@pytest.mark.parametrize(
    "line",
    [
        "open('/root/x')",
        "see /home/someone/data",
        "import pickle",
        "from joblib import dump",
        "pypi.org",
    ],
)
def test_what_must_not_stand_in_a_file_is_noticed(line: str) -> None:
    assert any(pattern.search(line) for pattern in (HOME, HOSTS, CODE_IN_FILES))


@pytest.mark.parametrize("line", ["https://example.org/home/user", "runs/home/x", "${ROOT}/home/x", "/tmp/x"])
def test_a_path_that_every_machine_has_is_let_through(line: str) -> None:
    assert not HOME.search(line)


def test_every_make_command_that_a_document_shows_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M))
    shown = set()
    for document in ("README.md", "ARCHITECTURE.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        shown |= set(re.findall(r"`make ([a-z-]+)", text)) | set(
            re.findall(r"^make ([a-z-]+)", text, flags=re.M)
        )
    assert {"run", "test", "test-lookahead", "test-models"} <= shown
    assert shown <= targets


def test_make_help_names_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    [names] = re.findall(r"^\.PHONY: (.*)$", makefile, flags=re.M)
    shown = subprocess.run(
        ["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert set(re.findall(r"^  make ([a-z-]+)", shown, flags=re.M)) == set(names.split())


def test_an_unfinished_installation_leaves_no_stamp(tmp_path: Path) -> None:
    python = tmp_path / "python3.11"
    python.write_text(
        "#!/bin/sh\nmkdir -p .venv/bin; printf '#!/bin/sh\\nexit 1\\n' > .venv/bin/pip; chmod +x .venv/bin/pip\n"
    )
    python.chmod(0o755)
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    for name in ("pyproject.toml", "constraints.txt", "pipelines/requirements.txt", "tests/requirements.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    done = subprocess.run(
        ["make", "-s", "run", f"PYTHON={python}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "Installing into .venv" in done.stdout
    assert not (tmp_path / ".venv" / "ready").exists()
