"""The ``report`` step of the pipeline: the only one that receives the locked test's outcomes."""

from typing import Any, Dict, List

from kfp import dsl
from kfp.dsl import HTML, Artifact, ClassificationMetrics, Dataset, Input, Markdown, Metrics, Output

from mlfactory.common.images import image


@dsl.component(base_image=image("report"), packages_to_install=[], install_kfp_package=False)
def report(
    oof: Input[Dataset],
    ensemble_predictions: Input[Dataset],
    ranking: Input[Artifact],
    index: Input[Dataset],
    test_labels: Input[Dataset],
    data_report: Input[Artifact],
    regime_report: Input[Artifact],
    report: Output[Artifact],
    html: Output[HTML],
    leaderboard: Output[Markdown],
    confusion: Output[ClassificationMetrics],
    timings: Output[Metrics],
    boosting: Input[List[Dataset]] | None = None,
    classical: Input[List[Dataset]] | None = None,
    neural: Input[List[Dataset]] | None = None,
    cnn: Input[List[Dataset]] | None = None,
    transformer: Input[List[Dataset]] | None = None,
    boosting_fits: Input[List[Artifact]] | None = None,
    classical_fits: Input[List[Artifact]] | None = None,
    neural_fits: Input[List[Artifact]] | None = None,
    cnn_fits: Input[List[Artifact]] | None = None,
    transformer_fits: Input[List[Artifact]] | None = None,
    ledger: str = "",
    seed: int = 0,
    params: Dict[str, Any] = {},
) -> None:
    """Open the locked test and state what every model is worth on it, after costs and against baselines.

    Args:
        oof: Out-of-fold predictions that the ranking was made of.
        ensemble_predictions: Probabilities of the combiners.
        ranking: Scores on development rows, which chose the headline models.
        index: Rows, folds and development labels.
        test_labels: Outcomes of the locked test; no other step receives them.
        data_report: Facts about the bars.
        regime_report: How often each regime was held.
        report: Folder of report.json (all numbers) and report.html.
        html: The report as a page.
        leaderboard: The models on the locked test, best first.
        confusion: What came true against what the ensemble of the first horizon said.
        timings: Time, memory and the ensemble's results.
        boosting: Test predictions of the family.
        classical: Test predictions of the family.
        neural: Test predictions of the family.
        cnn: Test predictions of the family.
        transformer: Test predictions of the family.
        boosting_fits: What happened in the family's fits.
        classical_fits: What happened in the family's fits.
        neural_fits: What happened in the family's fits.
        cnn_fits: What happened in the family's fits.
        transformer_fits: What happened in the family's fits.
        ledger: File or URI to which this opening of the test is appended; empty for none.
        seed: Of the bootstrap and the shuffled labels.
        params: Resamples, shuffles and bins.
    """
    from mlfactory.common.stage import execute
    from mlfactory.report.confusion import log_confusion
    from mlfactory.report.stage import run

    execute(
        run,
        timings,
        oof=oof,
        ensemble_predictions=ensemble_predictions,
        ranking=ranking,
        index=index,
        test_labels=test_labels,
        data_report=data_report,
        regime_report=regime_report,
        report=report,
        html=html,
        leaderboard=leaderboard,
        boosting=boosting,
        classical=classical,
        neural=neural,
        cnn=cnn,
        transformer=transformer,
        boosting_fits=boosting_fits,
        classical_fits=classical_fits,
        neural_fits=neural_fits,
        cnn_fits=cnn_fits,
        transformer_fits=transformer_fits,
        ledger=ledger,
        seed=seed,
        params=params,
    )
    log_confusion(report, confusion)
