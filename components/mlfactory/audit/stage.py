"""Prove over every column of a series that it neither sees the future nor knows where the file starts."""

from pathlib import Path
from typing import Any

from mlfactory.audit.audit import audit as audit_series
from mlfactory.audit.compare import Tell
from mlfactory.audit.page import render
from mlfactory.audit.params import FAILED, Params, Settings
from mlfactory.common.artifacts import new_file, provenance, sha256, write_json
from mlfactory.common.bars import read_bars
from mlfactory.common.stage import Summary, main, progress
from mlfactory.features.params import Params as FeatureParams
from mlfactory.features.registry import extra_files
from mlfactory.labels.params import Params as LabelParams
from mlfactory.mtf.params import Params as LadderParams
from mlfactory.regime.params import Params as RegimeParams


def run(  # noqa: PLR0913  (the parameters of every audited stage)
    bars: Path,
    audit: Path,
    html: Path,
    regime: RegimeParams = RegimeParams(),  # noqa: B008  (frozen)
    mtf: LadderParams = LadderParams(),  # noqa: B008
    features: FeatureParams = FeatureParams(),  # noqa: B008
    labels: LabelParams = LabelParams(),  # noqa: B008
    params: Params = Params(),  # noqa: B008
) -> Summary:
    """Corrupt the future of a series and compare the past of every column, bit for bit.

    A column that fails is a finding, not an error: the step ends well and says so in its line and its metrics.

    Args:
        bars: the ``bars`` table.
        audit: JSON document to write: a verdict per column and what it rests on.
        html: the same as a page.
        regime: parameters of the regime stage.
        mtf: parameters of the ladder.
        features: which features.
        labels: rules of the trades.
        params: how much is compared.
    """
    document = perform(
        bars, Settings(regime=regime, mtf=mtf, features=features, labels=labels), params, progress
    )
    write_json(audit, document)
    write_page(html, document)
    return summary(document)


def perform(bars: Path, settings: Settings, params: Params, tell: Tell) -> dict[str, Any]:
    """Audit the ``bars`` table; the document with its provenance."""
    used = {**settings.model_dump(mode="json"), "audit": params.model_dump(mode="json")}
    extra = {name: sha256(path) for name, path in extra_files().items()}
    facts = provenance("audit", "audit", {"bars": bars}, used, extra_groups=extra)
    return {**facts, **audit_series(read_bars(bars), settings, params, tell)}


def write_page(path: Path, document: dict[str, Any]) -> None:
    """Write an audit as a self-contained page."""
    with new_file(path) as file:
        file.write_text(render(document), encoding="utf-8")


def summary(document: dict[str, Any]) -> Summary:
    """State the verdicts, and name the first columns that failed."""
    counts = document["counts"]
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    line = f"{len(document['columns'])} columns, {len(document['cuts'])} cuts: {told}"
    wrong = [row["column"] for row in document["columns"] if row["verdict"] == FAILED]
    if wrong:
        line += f"; failed: {', '.join(wrong[:5])}{', ...' if len(wrong) > 5 else ''}"
    numbers = {verdict.replace(" ", "_"): float(count) for verdict, count in counts.items()}
    return Summary(line, {**numbers, "cuts": float(len(document["cuts"]))})


if __name__ == "__main__":
    main(run)
