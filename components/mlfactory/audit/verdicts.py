"""What the findings about a column amount to, in one row of the table."""

from collections.abc import Iterator
from typing import Any, Final

from mlfactory.audit.compare import Finding
from mlfactory.audit.params import FAILED
from mlfactory.common.bars import Bars, timestamps

PASSED: Final = "passed"
NOT_TESTED: Final = "not tested"
VERDICTS: Final = (FAILED, NOT_TESTED, PASSED)
_EXAMPLES: Final = 3


def judged(finding: Finding, bars: Bars) -> dict[str, Any]:
    """Write the row of a column: a column passes when it was tested and nothing was found."""
    column = finding.column
    wrong, missing = list(_wrong(finding, bars)), list(_missing(finding))
    return {
        "stage": column.stage,
        "group": column.group,
        "column": column.name,
        "lookback": column.lookback,
        "tolerance": column.tolerance,
        "cuts": len(finding.cuts),
        "differed": len(finding.differed),
        "leaks": len({leak["cut"] for leak in finding.leaks}),
        "rows": finding.fed,
        "worst_error": finding.worst,
        "future": FAILED if finding.leaks else PASSED if finding.cuts and finding.differed else NOT_TESTED,
        "origin": FAILED if finding.origin else PASSED if finding.fed else NOT_TESTED,
        "verdict": FAILED if wrong else NOT_TESTED if missing else PASSED,
        "reasons": wrong or missing,
        "examples": {"leaks": finding.leaks[:_EXAMPLES], "origin": finding.origin[:_EXAMPLES]},
    }


def _wrong(finding: Finding, bars: Bars) -> Iterator[str]:
    def at(row: int) -> str:
        return f"{timestamps(bars.minute[[row]])[0]:%Y-%m-%d %H:%M}"

    if finding.leaks:
        kinds = ", ".join(sorted({leak["garbage"] for leak in finding.leaks}))
        one = finding.leaks[0]
        yield (
            f"sees the future: the row of {at(one['row'])} changed with the bars from {at(one['cut'])} on "
            f"({kinds}; {len({leak['cut'] for leak in finding.leaks})} of {len(finding.cuts)} cuts)"
        )
    if finding.origin:
        one = finding.origin[0]
        yield (
            f"depends on where the file starts, or on bars after its row: the row of {at(one['row'])} is "
            f"{one['value']:.9g} from all bars and {one['alone']:.9g} from its look-back of "
            f"{_bars(finding)}"
        )


def _missing(finding: Finding) -> Iterator[str]:
    lookback = finding.column.lookback
    if not finding.cuts:
        yield "no cut has a value before it"
    elif not finding.differed:
        yield "no garbage changed it after a cut"
    if lookback is None:
        yield "its stage declares an unbounded look-back"
    elif not finding.fed:
        yield f"no row that was fed has its look-back of {_bars(finding)}"


def _bars(finding: Finding) -> str:
    lookback = finding.column.lookback or 1
    return f"{lookback:,} bar{'' if lookback == 1 else 's'}"
