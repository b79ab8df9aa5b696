"""The Dockerfile builds with either builder, and the image it makes is locked down."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKERFILE = (REPOSITORY / "images" / "Dockerfile").read_text(encoding="utf-8")
INSTRUCTIONS = [line for line in DOCKERFILE.splitlines() if line and not line.lstrip().startswith("#")]


@pytest.mark.parametrize("only_buildkit", ["--mount", "--link", "<<", "# syntax", "--chmod"])
def test_the_classic_builder_understands_it(only_buildkit: str) -> None:
    assert only_buildkit not in DOCKERFILE


def test_the_base_image_and_the_stage_are_arguments() -> None:
    assert INSTRUCTIONS[0] == "ARG BASE_IMAGE=python:3.11-slim-bookworm"
    assert {line for line in INSTRUCTIONS if line.startswith("FROM")} == {
        "FROM ${BASE_IMAGE} AS base",
        "FROM base AS common-build",
        "FROM base AS common",
        "FROM common AS stage-build",
        "FROM common AS code",
        "FROM common",
    }
    assert "ARG STAGE" in INSTRUCTIONS


def test_the_container_runs_as_a_user_without_rights_in_the_root_group() -> None:
    assert [line for line in INSTRUCTIONS if line.startswith("USER")] == ["USER 10001:0"]


def test_wheels_certificates_and_package_indexes_stay_in_the_build_stages() -> None:
    last = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    assert "PIP_" not in last
    assert "images/" not in last
    assert "/build" not in last


def test_versions_come_from_the_constraints_alone() -> None:
    installs = [line for line in INSTRUCTIONS if "pip install" in line]
    assert len(installs) == 3
    assert not re.search(r"==\d", DOCKERFILE)
    assert DOCKERFILE.count("-c /build/constraints.txt") == len(installs)


def test_no_image_and_no_base_is_called_latest() -> None:
    assert "latest" not in DOCKERFILE


def test_every_requirement_and_all_that_it_brings_is_pinned() -> None:
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    pinned = {re.sub(r"[-_.]+", "-", pin.partition("==")[0]).lower() for pin in pins}
    files = [*REPOSITORY.glob("images/*/requirements.txt"), *REPOSITORY.glob("*/requirements.txt")]
    wanted = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    names = {re.split(r"[^\w.-]", line)[0] for line in wanted if line and not line.startswith("#")}
    assert {re.sub(r"[-_.]+", "-", name).lower() for name in names} <= pinned


def test_without_an_engine_the_build_says_so_in_one_line() -> None:
    environment = {**os.environ, "PATH": "", "PYTHONPATH": str(REPOSITORY / "components")}
    command = [sys.executable, str(REPOSITORY / "images" / "build.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: no Docker engine answers; start one and run this again\n"
    assert done.stdout == ""
