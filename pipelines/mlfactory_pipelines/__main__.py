"""``python -m mlfactory_pipelines``: the ``mlfactory`` command."""

from mlfactory_pipelines.cli import main

main()
