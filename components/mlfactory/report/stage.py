"""Open the locked test once and state what every model is worth on it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlfactory.common.artifacts import (
    PROVENANCE,
    clean,
    new_file,
    new_folder,
    provenance,
    sha256,
    to_json,
    write_json,
)
from mlfactory.common.errors import InputError
from mlfactory.common.index import read_index
from mlfactory.common.pools import NO_PATHS, read_family_lists, read_pool
from mlfactory.common.predictions import Predictions
from mlfactory.common.splits import REFIT
from mlfactory.common.stage import Summary, main
from mlfactory.report.document import chosen, contents
from mlfactory.report.evaluation import evaluate
from mlfactory.report.leaderboard import headline, markdown
from mlfactory.report.ledger import append, openings
from mlfactory.report.page import render
from mlfactory.report.params import Params
from mlfactory.report.paths import path_results
from mlfactory.report.reading import align, read_document, read_test_labels

_DEFAULTS = Params()
HTML, JSON = "report.html", "report.json"


def run(  # noqa: PLR0913  (two lists per training family)
    oof: Path,
    ensemble_predictions: Path,
    ranking: Path,
    index: Path,
    test_labels: Path,
    data_report: Path,
    regime_report: Path,
    report: Path,
    html: Path,
    leaderboard: Path,
    boosting: list[Path] = NO_PATHS,
    classical: list[Path] = NO_PATHS,
    neural: list[Path] = NO_PATHS,
    cnn: list[Path] = NO_PATHS,
    transformer: list[Path] = NO_PATHS,
    boosting_fits: list[Path] = NO_PATHS,
    classical_fits: list[Path] = NO_PATHS,
    neural_fits: list[Path] = NO_PATHS,
    cnn_fits: list[Path] = NO_PATHS,
    transformer_fits: list[Path] = NO_PATHS,
    ledger: str = "",
    seed: int = 0,
    params: Params = _DEFAULTS,
) -> Summary:
    """Score and trade every model on the locked test, against baselines, with intervals.

    Args:
        oof: the ``oof`` table that the ranking was made of.
        ensemble_predictions: combiners on the test and out of fold.
        ranking: scores on development rows; they chose the headline ensemble and the best base model.
        index: rows, folds and development labels; prior and expected payoffs come from them alone.
        test_labels: outcomes of the locked test; no other stage reads them.
        data_report: facts about the bars.
        regime_report: how often each regime was held, with the row's own bar and as served without it.
        report: the folder to write: ``report.json`` and ``report.html``.
        html: the same page as a file of its own.
        leaderboard: the file to write: the table of models as Markdown.
        boosting: ``test_predictions`` of the family; likewise the next four.
        classical: as above.
        neural: as above.
        cnn: as above.
        transformer: as above.
        boosting_fits: ``fit`` documents of the family; likewise the next four.
        classical_fits: as above.
        neural_fits: as above.
        cnn_fits: as above.
        transformer_fits: as above.
        ledger: path or URI of the ledger to which this opening is appended; empty for none.
        seed: of resamples and shuffles.
        params: resamples, shuffles and bins.

    Raises:
        InputError: artifacts are of different runs, or the ledger cannot be written.
    """
    lists = (boosting, classical, neural, cnn, transformer)
    fit_lists = (boosting_fits, classical_fits, neural_fits, cnn_fits, transformer_fits)
    folds, index_sha = read_index(index), sha256(index)
    ranked = _ranking(ranking, oof, index_sha)
    pool = _test_pool(lists, ensemble_predictions, index_sha)
    fits = _fits(fit_lists)
    data = read_document(data_report, "data_report")
    regimes = read_document(regime_report, "regime_report")["columns"]
    opened = _announce(ledger, test_labels, pool)
    outcomes = read_test_labels(test_labels, folds)
    results = []
    for horizon in sorted({p.horizon for p in pool}):
        test = align(horizon, outcomes[horizon], [p for p in pool if p.horizon == horizon], folds)
        results.append(evaluate(test, folds, chosen(ranked, horizon), params, seed))
    inputs = {
        "oof": oof,
        "ensemble_predictions": ensemble_predictions,
        "ranking": ranking,
        "index": index,
        "test_labels": test_labels,
        "data_report": data_report,
        "regime_report": regime_report,
    }
    about = provenance(
        "report",
        "report",
        inputs,
        {**params.model_dump(mode="json"), "seed": seed},
        test_predictions=sorted(sha256(path) for paths in lists for path in paths),
        fits=sorted(sha256(path) for paths in fit_lists for path in paths),
    )
    document = {
        **about,
        **contents(results, pool, fits, ranked, folds, data),
        "paths": clean(path_results(_out_of_fold(oof, ensemble_predictions), folds)),
        "regimes": regimes,
    }
    _write(document, report, html, leaderboard)
    line, metrics = headline(document)
    if opened:
        metrics["openings_of_this_test"] = opened
        line += f"; opening {opened} of this test segment"
    return Summary(line, metrics)


def _ranking(ranking: Path, oof: Path, index_sha: str) -> dict[str, Any]:
    document = read_document(ranking, "ranking")
    for name, made_with, expected in (
        ("index", document["inputs"]["index"], index_sha),
        ("oof", document["inputs"]["oof"], sha256(oof)),
    ):
        if made_with != expected:
            raise InputError(f"{ranking} was made with another {name} artifact: run the stacking stage again")
    return document


def _test_pool(lists: Sequence[Sequence[Path]], ensemble: Path, index_sha: str) -> list[Predictions]:
    base, _ = read_family_lists(lists, "test_predictions", index_sha)
    combined, facts = read_pool(ensemble, "ensemble_predictions")
    if facts["inputs"]["index"] != index_sha:
        raise InputError(f"{ensemble} was made with another index artifact: run the stacking stage again")
    return [*base, *(p for p in combined if len(p) and p.fold[0] == REFIT)]


def _out_of_fold(oof: Path, ensemble: Path) -> list[Predictions]:
    """Out-of-fold predictions of base models and combiners."""
    combined, _ = read_pool(ensemble, "ensemble_predictions")
    return [*read_pool(oof, "oof")[0], *(p for p in combined if len(p) and p.fold[0] != REFIT)]


def _fits(lists: Sequence[Sequence[Path]]) -> list[dict[str, Any]]:
    fits = [read_document(path, "fit") for paths in lists for path in paths]
    return sorted(fits, key=lambda fit: (fit["horizon"], fit["model"]))


def _announce(ledger: str, test_labels: Path, pool: Sequence[Predictions]) -> int:
    """Write the opening down before it happens, and count the openings of this test; 0 without a ledger."""
    if not ledger:
        return 0
    digest = sha256(test_labels)
    models = sorted({p.model for p in pool})
    append(
        ledger,
        {"test_labels_sha256": digest, "models": models, "horizons": sorted({p.horizon for p in pool})},
    )
    return openings(ledger, digest)


def _write(document: dict[str, Any], report: Path, html: Path, leaderboard: Path) -> None:
    page = render(document)
    with new_folder(report) as folder:
        write_json(folder / JSON, document)
        (folder / HTML).write_text(page, encoding="utf-8")
        facts = {
            key: document[key] for key in ("artifact", "schema_version", "stage", "code", "inputs", "params")
        }
        (folder / PROVENANCE).write_text(to_json(facts), encoding="utf-8")
    with new_file(html) as file:
        file.write_text(page, encoding="utf-8")
    with new_file(leaderboard) as file:
        file.write_text(markdown(document), encoding="utf-8")


if __name__ == "__main__":
    main(run)
