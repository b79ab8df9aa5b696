"""Turn a source of bars into the ``bars`` artifact, with every rejected row and a report beside it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mlfactory.common.artifacts import provenance, sha256, write_json, write_table
from mlfactory.common.bars import Instrument, write_bars
from mlfactory.common.errors import InputError
from mlfactory.common.stage import Summary, main
from mlfactory.ingest.clean import Clean, clean, describe, quarantine_table
from mlfactory.ingest.instruments import GENERIC, instrument
from mlfactory.ingest.params import Params
from mlfactory.ingest.source import Rows, local_copy, read_rows

SYNTHETIC: Final = "synthetic:"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def run(
    source: str,
    bars: Path,
    quarantine: Path,
    data_report: Path,
    symbol: str = "",
    bars_version: str = "",
    params: Params = Params(),  # noqa: B008  (frozen)
) -> Summary:
    """Read, check and stamp with sessions the bars of one contract; nothing is repaired.

    Args:
        source: path or URI of a Parquet or CSV file with timestamp, open, high, low, close and volume, or
            ``synthetic:`` for generated bars.
        bars: table of the bars that keep every rule.
        quarantine: table of the rows that do not, with the reason of each.
        data_report: JSON document about the series.
        symbol: a known instrument, a contract of one, or any name with an own entry in ``params.instrument``; empty
            means GENERIC for files and ES for generated bars.
        bars_version: sha256 that the file must have; any other version name serves KFP's cache alone.
        params: how to read and what to tolerate.

    Raises:
        InputError: the source or a parameter cannot be used.
    """
    synthetic = source == SYNTHETIC
    contract = instrument(symbol or ("ES" if synthetic else GENERIC), params.instrument)
    if synthetic:
        result, inputs = clean(_generated(params, contract), contract, params), {}
    else:
        with local_copy(source) as path:
            inputs = {"source": _verified(path, source, bars_version)}
            result = clean(read_rows(path, params), contract, params)
    about = describe(result)
    _write(result, about, (bars, quarantine, data_report), inputs, params)
    return _summary(about)


def _generated(params: Params, contract: Instrument) -> Rows:
    from mlfactory.ingest.synthetic import generate  # compiles kernels

    return generate(params.synthetic, contract).rows()


def _verified(path: Path, source: str, version: str) -> str:
    digest = sha256(path)
    if _SHA256.fullmatch(version) and digest != version:
        raise InputError(
            f"source {source} has sha256 {digest}; bars_version says {version}: the file has changed"
        )
    return digest


def _write(
    result: Clean,
    about: Mapping[str, Any],
    outputs: tuple[Path, Path, Path],
    inputs: Mapping[str, str],
    params: Params,
) -> None:
    used = params.model_dump(mode="json", exclude={"synthetic"} if inputs else None)

    def facts(kind: str, **more: Any) -> dict[str, Any]:
        return {**provenance(kind, "ingest", {}, used, **more), "inputs": dict(inputs)}

    bars, quarantine, data_report = outputs
    write_bars(bars, result.bars, facts("bars", segments=about["segments"]))
    write_table(quarantine, quarantine_table(result), facts("quarantine", reasons=about["rejected"]))
    write_json(data_report, facts("data_report", **about))


def _summary(about: Mapping[str, Any]) -> Summary:
    rejected = sum(about["rejected"].values())
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in about["rejected"].items())
    line = (
        f"{about['bars']:,} bars of {about['bar_minutes']} min, {about['instrument']['symbol']}, "
        f"{_many(about['sessions'], 'session')}, {_many(about['segments'], 'segment')}, {rejected:,} rejected"
    )
    counts = {name: about[name] for name in ("bars", "sessions", "segments")}
    return Summary(line=f"{line} ({reasons})" if reasons else line, metrics={**counts, "rejected": rejected})


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


if __name__ == "__main__":
    main(run)
