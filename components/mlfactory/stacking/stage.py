"""Combine the models of each horizon and rank all of them on development rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlfactory.common.artifacts import PROVENANCE, Provenance, new_folder, provenance, sha256, write_json
from mlfactory.common.errors import InputError
from mlfactory.common.index import Index, read_index
from mlfactory.common.pools import NO_PATHS, name, read_family_lists, read_pool, write_pool
from mlfactory.common.predictions import CLASSES, COMBINERS, Predictions
from mlfactory.common.splits import HELD_OUT, REFIT
from mlfactory.common.stage import Summary, main
from mlfactory.models.registry import combiners, family_of
from mlfactory.stacking.combining import Combined, combine
from mlfactory.stacking.nested import Stack, stack
from mlfactory.stacking.params import Params
from mlfactory.stacking.ranking import predicted_by_all, rank

_DEFAULTS = Params()


@dataclass(frozen=True)
class _Horizon:
    development: Stack
    test: Stack
    combined: list[Combined]


def run(  # noqa: PLR0913  (one list per training family)
    oof: Path,
    index: Path,
    ensemble: Path,
    ensemble_predictions: Path,
    ranking: Path,
    boosting: list[Path] = NO_PATHS,
    classical: list[Path] = NO_PATHS,
    neural: list[Path] = NO_PATHS,
    cnn: list[Path] = NO_PATHS,
    transformer: list[Path] = NO_PATHS,
    seed: int = 0,
    params: Params = _DEFAULTS,
) -> Summary:
    """Fit combiners on out-of-fold predictions, in nested purged folds, and predict the label-free test.

    Args:
        oof: the ``oof`` table.
        index: the ``index`` artifact that it was made with.
        ensemble: the folder to write: a combiner per horizon and the contract of its input columns.
        ensemble_predictions: the table to write: combiners out of fold (part ``oof``) and on the test.
        ranking: the JSON file to write: every model's score on development rows; the test has no part in it.
        boosting: ``test_predictions`` of the family; likewise the next four.
        classical: as above.
        neural: as above.
        cnn: as above.
        transformer: as above.
        seed: of the combiners and of the resamples.
        params: combiners and resamples.

    Raises:
        InputError: an artifact is of another index, a combiner is unknown, models share no row, or a model's
            test predictions are missing.
    """
    _check_combiners(params.combiners)
    folds, index_sha = read_index(index), sha256(index)
    pool, facts = read_pool(oof, "oof")
    if facts["inputs"]["index"] != index_sha:
        raise InputError(f"{oof} was made with another index than {index}: run the oof stage again")
    lists = (boosting, classical, neural, cnn, transformer)
    test, _ = read_family_lists(lists, "test_predictions", index_sha)
    _check_test(pool, test, folds)
    horizons = [_combine(pool, test, folds, h, params, seed) for h in sorted({p.horizon for p in pool})]
    about = provenance(
        "ensemble",
        "stacking",
        {"index": index, "oof": oof},
        {**params.model_dump(mode="json"), "seed": seed},
        test_predictions=sorted(sha256(path) for paths in lists for path in paths),
    )
    _write_ensemble(ensemble, horizons, about)
    predictions = [p for one in horizons for c in one.combined for p in (c.oof, c.test)]
    write_pool(ensemble_predictions, predictions, {**about, "artifact": "ensemble_predictions"})
    family = {p.model: p.family for p in (*pool, *predictions)}
    rows = [
        {**row, "family": family[row["model"]]}
        for one in horizons
        for row in rank(
            one.development, {c.name: c.nested for c in one.combined}, folds, draws=params.draws, seed=seed
        )
    ]
    losses = [row for one in horizons for row in _losses(one)]
    # the test has no part in the ranking, not even by its predictions' hashes
    development = {key: value for key, value in about.items() if key != "test_predictions"}
    write_json(
        ranking,
        {
            **development,
            "artifact": "ranking",
            "rows": rows,
            "loss_of_rows": losses,
            "failed": facts["failed"],
        },
    )
    return _summary(rows, losses)


def _check_combiners(chosen: Sequence[str]) -> None:
    for combiner in chosen:
        if (family := family_of(combiner)) not in COMBINERS:
            raise InputError(
                f"stacking.combiners: {combiner!r} is of the family {family!r} and combines nothing"
            )


def _check_test(pool: Sequence[Predictions], test: Sequence[Predictions], index: Index) -> None:
    trained, applied = ({(p.horizon, p.model): p for p in part} for part in (pool, test))
    for key in trained.keys() ^ applied.keys():
        there, missing = ("oof", "test") if key in trained else ("test", "oof")
        raise InputError(f"{key[1]}, horizon {key[0]}, has {there} predictions but no {missing} predictions")
    for predictions in test:
        locked = index.code[predictions.horizon][predictions.row, REFIT] == HELD_OUT
        outside = (
            ~locked | (predictions.fold != REFIT) | (index.minute[predictions.row] != predictions.minute)
        )
        if outside.any():
            raise InputError(
                f"{name(predictions)}: test row {predictions.row[outside][0]} is not a row of the "
                "locked test, or not predicted by the refitted model"
            )


def _combine(
    pool: Sequence[Predictions],
    test: Sequence[Predictions],
    index: Index,
    horizon: int,
    params: Params,
    seed: int,
) -> _Horizon:
    development, locked = (stack([p for p in part if p.horizon == horizon]) for part in (pool, test))
    chosen = params.combiners or combiners()
    combined = [combine(c, development, locked, index, seed, params.settings.get(c, {})) for c in chosen]
    if any(np.isnan(c.nested).all() for c in combined):
        raise InputError(f"horizon {horizon}: no fold's training rows have out-of-fold predictions")
    return _Horizon(development, locked, combined)


def _write_ensemble(path: Path, horizons: Sequence[_Horizon], about: Provenance) -> None:
    contract = {}
    with new_folder(path) as folder:
        for one in horizons:
            horizon = one.development.horizon
            for combined in one.combined:
                combined.model.save(folder / f"{combined.name}_h{horizon}")
            contract[str(horizon)] = {
                "models": list(one.development.models),
                "columns": one.development.columns,
                "combiners": {c.name: f"{c.name}_h{horizon}" for c in one.combined},
                "rows": {
                    c.name: {"final": len(np.unique(one.development.row)), "nested": c.trained_on}
                    for c in one.combined
                },
            }
        write_json(folder / "contract.json", {"classes": list(CLASSES), "horizons": contract})
        write_json(folder / PROVENANCE, about)


def _losses(one: _Horizon) -> list[dict[str, Any]]:
    """Count the rows that each model predicts and the intersection with all others, combiners included, leaves out."""
    row = one.development.row
    ranked = len(np.unique(row[predicted_by_all([c.nested for c in one.combined])]))
    unranked = len(np.unique(row)) - ranked
    return [
        {
            "horizon": one.development.horizon,
            "model": model,
            "rows": ranked,
            "lost": one.development.lost[j] + unranked,
            "test_rows": len(one.test),
            "test_lost": one.test.lost[j],
        }
        for j, model in enumerate(one.development.models)
    ]


def _summary(rows: Sequence[dict[str, Any]], losses: Sequence[dict[str, Any]]) -> Summary:
    parts, metrics = [], {}
    for horizon in sorted({row["horizon"] for row in rows}):
        best = next(row for row in rows if row["horizon"] == horizon)
        parts.append(
            f"h{horizon}: {best['model']} {best['log_loss']:.4f} (prior {best['prior_log_loss']:.4f}) "
            f"on {best['n']:,} rows"
        )
        for row in rows:
            if row["horizon"] == horizon:
                metrics[f"oof_log_loss_{row['model']}_h{horizon}"] = row["log_loss"]
    lost = max(row["lost"] for row in losses)
    line = f"best out of fold: {'; '.join(parts)}"
    return Summary(f"{line}; at most {lost:,} rows of a model lost to the intersection", metrics)


if __name__ == "__main__":
    main(run)
