"""Collect the fold predictions of all families into one table of out-of-fold predictions."""

from pathlib import Path

from mlfactory.common.artifacts import provenance, sha256
from mlfactory.common.errors import InputError
from mlfactory.common.index import read_index
from mlfactory.common.pools import NO_PATHS, name, read_family_lists, write_pool
from mlfactory.common.stage import Summary, main
from mlfactory.oof.alignment import check_out_of_fold, held_out_rows
from mlfactory.oof.params import Params

_DEFAULTS = Params()


def run(  # noqa: PLR0913  (one list per training family)
    index: Path,
    oof: Path,
    boosting: list[Path] = NO_PATHS,
    classical: list[Path] = NO_PATHS,
    neural: list[Path] = NO_PATHS,
    cnn: list[Path] = NO_PATHS,
    transformer: list[Path] = NO_PATHS,
    params: Params = _DEFAULTS,
) -> Summary:
    """Align the fold predictions of all models by row id and refuse any from a model that saw the row.

    Args:
        index: the ``index`` artifact that every model was trained with.
        oof: the table to write; its provenance lists the models and the jobs that failed.
        boosting: ``fold_predictions`` of the family; likewise the next four.
        classical: as above.
        neural: as above.
        cnn: as above.
        transformer: as above.
        params: none are known.

    Raises:
        InputError: a prediction is not out of fold, is of another index, or no job succeeded.
    """
    lists = (boosting, classical, neural, cnn, transformer)
    folds = read_index(index)
    pool, failed = read_family_lists(lists, "fold_predictions", sha256(index))
    if not pool:
        jobs = "; ".join(map(name, failed)) or "there was none"
        raise InputError(f"no training job left predictions: {jobs}")
    for predictions in pool:
        check_out_of_fold(predictions, folds)
    possible = {h: held_out_rows(folds, h) for h in folds.horizons}
    facts = provenance(
        "oof",
        "oof",
        {"index": index},
        params.model_dump(mode="json"),
        fold_predictions=sorted(sha256(path) for paths in lists for path in paths),
        failed=[{"model": p.model, "family": p.family, "horizon": p.horizon} for p in failed],
        held_out_rows=possible,
    )
    write_pool(oof, pool, facts)
    predicted = sum(len(p) for p in pool)
    coverage = predicted / sum(possible[p.horizon] for p in pool)
    line = f"{predicted:,} out-of-fold predictions by {len(pool)} models, {coverage:.1%} of the held-out rows"
    if failed:
        line += f"; failed: {'; '.join(map(name, failed))}"
    return Summary(line, {"predictions": predicted, "models": len(pool), "failed": len(failed)})


if __name__ == "__main__":
    main(run)
