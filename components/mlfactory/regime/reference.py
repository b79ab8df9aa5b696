"""The same model by hmmlearn, one public call per bar: slow, and the check on our kernels."""

import numpy as np
from hmmlearn.hmm import GaussianHMM

from mlfactory.common.bars import Floats
from mlfactory.regime.hmm import VARIANCE_FLOOR, Model, by_variance, floored


class _Floored(GaussianHMM):  # type: ignore[misc]  # hmmlearn has no type hints
    """hmmlearn's maximisation under the same bounds as ours."""

    startprob_: Floats
    transmat_: Floats
    _covars_: Floats

    def _do_mstep(self, stats: dict[str, Floats]) -> None:
        super()._do_mstep(stats)
        self.startprob_ = floored(self.startprob_)
        self.transmat_ = np.stack([floored(row) for row in self.transmat_])
        self._covars_ = np.maximum(self._covars_, VARIANCE_FLOOR)


def _hmmlearn(model: Model, iterations: int, tolerance: float) -> GaussianHMM:
    chain = _Floored(
        n_components=len(model.start),
        covariance_type="diag",
        covars_prior=0.0,
        covars_weight=0.0,
        init_params="",
        n_iter=iterations,
        tol=tolerance,
    )
    chain.startprob_, chain.transmat_, chain.means_ = model.start, model.transition, model.mean
    chain.covars_ = model.variance
    return chain


def fit(x: Floats, start: Model, iterations: int, tolerance: float) -> tuple[Model, Floats]:
    """Fit as ``hmm.fit`` does: same start, bounds and stopping rule."""
    chain = _hmmlearn(start, iterations, tolerance * len(x)).fit(x)
    model = Model(chain.startprob_, chain.transmat_, chain.means_, chain._covars_.copy())
    return by_variance(model), np.asarray(chain.monitor_.history)


def run_filter(model: Model, x: Floats) -> tuple[Floats, Floats]:
    """Filter as ``hmm.run_filter`` does: the last row of the smoothed posterior of every prefix."""
    chain = _hmmlearn(model, 1, 0.0)
    filtered, total = np.empty((len(x), len(model.start))), np.zeros(len(x) + 1)
    for t in range(len(x)):
        total[t + 1], posterior = chain.score_samples(x[: t + 1])
        filtered[t] = posterior[-1]
    return filtered, np.diff(total)
