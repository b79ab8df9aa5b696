"""The support vector machine: the scores of libsvm, calibrated on rows that its machines did not see."""

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.svm import SVC

from mlfactory.models.classical.svm import SVM
from mlfactory.models.stacked import calibrate

ROOT = Path(__file__).parents[2]


def drawn(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, 4)).astype(np.float32)
    radius = (X[:, :2] ** 2).sum(axis=1)
    return X, np.digitize(radius + 0.3 * rng.normal(size=rows), [0.8, 2.4]).astype(np.int8)


def test_scores_are_those_of_one_machine_per_class() -> None:
    X, y = drawn(300)
    model = SVM(gap=0).fit(X, y, np.ones(300))
    for k in range(3):
        oracle = SVC(C=model.C, gamma=1 / 4).fit(X, y == k)
        np.testing.assert_allclose(model._scores(X)[:, k], oracle.decision_function(X), rtol=0, atol=2e-3)


def test_it_learns_classes_that_no_plane_parts() -> None:
    (X, y), (X_test, y_test) = drawn(900), drawn(500, seed=1)
    p = SVM(gap=0, C=1.0).fit(X, y, np.ones(900)).predict_proba(X_test)
    assert (p.argmax(axis=1) == y_test).mean() > 0.75


def test_calibration_on_rows_that_the_machines_saw_would_be_overconfident() -> None:
    (X, _), (fresh, _) = drawn(300), drawn(300, seed=1)
    rng = np.random.default_rng(1)
    y, later = (rng.integers(0, 3, 300).astype(np.int8) for _ in range(2))
    model = SVM(gap=0, C=100.0).fit(X, y, np.ones(300))

    def loss() -> float:
        return float(-np.log(model.predict_proba(fresh)[np.arange(300), later]).mean())

    honest = loss()
    assert honest < np.log(3) + 0.02
    model._calibration = calibrate(model._scores(X), y, np.ones(300))
    assert loss() > honest + 0.1


@pytest.mark.parametrize("gap", [0, 30])
def test_the_scores_of_a_block_do_not_see_labels_within_the_gap(
    gap: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = drawn(300)
    seen = []
    machines = SVM._machines
    monkeypatch.setattr(
        SVM, "_machines", lambda self, X, *rest: (seen.append(len(X)), machines(self, X, *rest))
    )
    SVM(gap=gap, blocks=3).fit(X, y, np.ones(300))
    assert seen == [200 - gap, 200 - 2 * gap, 200 - gap, 300]


def test_more_rows_than_the_cap_are_thinned_evenly_with_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    X, y = drawn(1000)
    thinned = SVM(most_rows=300, gap=40).fit(X, y, np.ones(1000))
    assert "trained on 250 of 1000 rows, one in 4" in "".join(capsys.readouterr())
    by_hand = SVM(most_rows=300, gap=10).fit(X[3::4], y[3::4], np.ones(250))
    np.testing.assert_array_equal(thinned.predict_proba(X[:50]), by_hand.predict_proba(X[:50]))


LEAKY = re.compile(r"early_stopping\s*=\s*True|probability\s*=\s*True|CalibratedClassifierCV|\bcv\s*=\s*\d")
"""Parts of scikit-learn that hold rows out at random, in the middle of overlapping labels."""


def test_no_source_lets_a_library_hold_rows_out_at_random() -> None:
    files = list((ROOT / "components").rglob("*.py"))
    found = {str(file): LEAKY.findall(file.read_text()) for file in files}
    assert {file: lines for file, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "line", ["SVC(probability=True)", "MLPClassifier(early_stopping = True)", "RidgeClassifierCV(cv=5)"]
)
def test_such_a_source_would_be_caught(line: str) -> None:
    assert LEAKY.search(line)
