"""Build the ladder of timeframes from bars."""

from pathlib import Path

from mlfactory.common.artifacts import provenance
from mlfactory.common.bars import read_bars
from mlfactory.common.ladder import write_ladder
from mlfactory.common.stage import Summary, main
from mlfactory.mtf.bins import build, usable
from mlfactory.mtf.params import Params


def run(bars: Path, mtf: Path, params: Params = Params()) -> Summary:  # noqa: B008  (frozen)
    """Build bars of every timeframe and tell each row which of them have closed.

    Args:
        bars: the ``bars`` table.
        mtf: folder to write: a table per step, and the alignment of every row.
        params: which steps.
    """
    series = read_bars(bars)
    steps, notes = usable(params.steps, series.bar_minutes)
    ladder = build(series, steps)
    facts = provenance("mtf", "mtf", {"bars": bars}, params.model_dump(mode="json"), notes=notes)
    write_ladder(mtf, ladder, facts)
    counts = {step: len(ladder.tables[step]) for step in steps}
    listed = ", ".join(f"{step} min {count:,}" for step, count in counts.items())
    line = "; ".join([f"{len(series):,} rows on {len(steps)} steps: {listed}", *notes])
    return Summary(line, {f"bars_{step}": float(count) for step, count in counts.items()})


if __name__ == "__main__":
    main(run)
