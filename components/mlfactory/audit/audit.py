"""The proof of causality over every column of a series, as one document."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from mlfactory.audit.chain import Chain
from mlfactory.audit.compare import (
    Findings,
    Tell,
    compare_stretch,
    corrupt_future,
    feed_lookback,
    rows_to_feed,
    window_of,
)
from mlfactory.audit.cuts import ABOUT, Cut, Schedule, choose
from mlfactory.audit.garbage import GARBAGE
from mlfactory.audit.params import FAILED, Params, Settings
from mlfactory.audit.verdicts import NOT_TESTED, VERDICTS, judged
from mlfactory.common.artifacts import clean
from mlfactory.common.bars import Bars, timestamps
from mlfactory.common.errors import InputError
from mlfactory.common.stage import progress

_PAST: Final = 256  # rows before a cut in which every column has a value to compare
_FUTURE: Final = 768  # corrupted bars: half a day of minutes, so that slow columns have time to differ
_FEWEST: Final = 200  # bars without which hardly a column has a value
_SHOWN: Final = 800  # points of the figure
_WEIGHTS: Final = (
    "Weights are audited as uniqueness and attributed return of every finished label beside finished and open ones; "
    "training divides them by sums over a fold's rows, and age decay, where chosen, counts from the fold's last row."
)
_KEYS: Final = (
    "timestamp, row, segment and session are keys, not columns: they count from where the file starts. Trade ends are "
    "compared as bars after their row. The audit begins at the bars, as ingest gives them."
)


def audit(bars: Bars, settings: Settings, params: Params, tell: Tell = progress) -> dict[str, Any]:
    """Corrupt the future and compare the past, feed the look-back alone and compare the row, over every column.

    Args:
        bars: the series.
        settings: parameters of the stages.
        params: how much is compared.
        tell: is told how far the audit is.

    Returns:
        ``facts`` of the series; ``cuts``; ``garbage``, each kind with the number of cuts that it was tried at;
        ``columns`` with a verdict each; ``counts`` of verdicts; ``notes`` on what is not covered.

    Raises:
        InputError: the series is too short, or a parameter does not suit it.
    """
    if len(bars) < _FEWEST:
        raise InputError(f"the series has {len(bars)} bars; an audit needs at least {_FEWEST}")
    chain, rng = Chain(bars, settings), np.random.default_rng(params.seed)
    found = Findings(chain.parts(bars[:_FEWEST]))
    declared = (finding.column.lookback or 1 for finding in found)
    warm_up = max(*declared, *chain.regime_lookback.values())  # rows of unbounded columns start there, too
    schedule = Schedule(chain.steps, settings.regime, settings.labels)
    cuts = choose(bars, warm_up + _PAST, params.cuts, schedule, rng)
    windows = [window_of(bars, cut.bar, warm_up + _PAST, _FUTURE) for cut in cuts]
    alone = [chain.parts(window.bars) for window in windows]
    fed = rows_to_feed(bars, warm_up, params.rows, rng)
    steps = len(chain.stages) + len(cuts)
    for k, stage in enumerate(chain.stages):
        tell(f"{stage} from its look-back alone", k, steps)
        for whole in chain.one_by_one(stage, bars):
            for window, parts in zip(windows, alone, strict=True):
                compare_stretch(window, next(p for p in parts if p.group == whole.group), whole, found)
            for row in fed:
                feed_lookback(chain, bars, whole, row, found)
    tried: Counter[str] = Counter()
    for k, (cut, window, parts) in enumerate(zip(cuts, windows, alone, strict=True)):
        tell(f"garbage after a cut, {cut.kind}", len(chain.stages) + k, steps)
        tried.update(corrupt_future(chain, window, parts, cut, rng, found))
    return _document(bars, chain, params, cuts, tried, found)


def _document(
    bars: Bars, chain: Chain, params: Params, cuts: list[Cut], tried: Counter[str], found: Findings
) -> dict[str, Any]:
    columns = [judged(finding, bars) for finding in found]
    verdicts = Counter(row["verdict"] for row in columns)
    document = {
        "facts": _facts(bars),
        "cuts": [_place(bars, cut) for cut in cuts],
        "close": _thinned(bars),
        "garbage": {
            name: {"about": (kind.__doc__ or "").rstrip("."), "cuts": tried[name]}
            for name, kind in GARBAGE.items()
        },
        "columns": columns,
        "counts": {verdict: verdicts[verdict] for verdict in VERDICTS},
        "failed": verdicts[FAILED] + params.strict * verdicts[NOT_TESTED],
        "switched_off": [column.name for column in chain.plan.switched_off],
        "notes": [*_gaps(cuts, tried, chain), _WEIGHTS, _KEYS],
    }
    cleaned: dict[str, Any] = clean(document)
    return cleaned


def _place(bars: Bars, cut: Cut) -> dict[str, Any]:
    minute = bars.minute[cut.bar]
    when = f"{timestamps(minute[None])[0]:%Y-%m-%d %H:%M}"
    return {"bar": cut.bar, "minute": minute, "when": when, "kind": cut.kind, "close": bars.close[cut.bar]}


def _thinned(bars: Bars) -> dict[str, Any]:
    """Keep so many closes as a figure can show."""
    rows = np.unique(np.linspace(0, len(bars) - 1, _SHOWN).astype(np.int64))
    return {"minute": bars.minute[rows], "price": bars.close[rows]}


def _facts(bars: Bars) -> dict[str, Any]:
    first, last = timestamps(bars.minute[[0, -1]])
    return {
        "instrument": bars.instrument.model_dump(),
        "bar_minutes": bars.bar_minutes,
        "bars": len(bars),
        "sessions": 1 + int(np.count_nonzero(np.diff(bars.session))),
        "segments": len(bars.segments()),
        "has_volume": bars.has_volume,
        "first": str(first),
        "last": str(last),
    }


def _gaps(cuts: list[Cut], tried: Counter[str], chain: Chain) -> Iterator[str]:
    """Say what this series gave no chance to test."""
    kinds = {cut.kind for cut in cuts}
    for kind, about in ABOUT.items():
        if kind not in kinds:
            yield f"No cut of the kind {kind} ({about}): there is none."
    for name in GARBAGE:
        if not tried[name]:
            yield f"Garbage of the kind {name} was never tried: the series has no room for it."
    if chain.plan.switched_off:
        yield f"{len(chain.plan.switched_off)} columns are switched off, for the series has no volume."
