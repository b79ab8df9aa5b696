"""Write the agreed graph of the training pipeline; its difference is what a reviewer reads."""

import tempfile
import warnings
from pathlib import Path

from mlfactory.common.artifacts import write_json
from mlfactory_pipelines import ir
from mlfactory_pipelines.plan import resolve

warnings.simplefilter("ignore")
from mlfactory_pipelines.training import compile_to  # noqa: E402

with tempfile.TemporaryDirectory() as folder:
    compile_to(resolve({}), Path(folder) / "training.yaml")
    graph = ir.graph(ir.load(Path(folder) / "training.yaml")[0])
write_json(Path(__file__).parent / "training.graph.json", graph)
