"""ML Factory: everything that runs inside a container of the pipeline."""

__version__ = "0.1.0"
