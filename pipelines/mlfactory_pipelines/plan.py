"""The resolved configuration of a run: stage defaults, then a preset, then ``--set``, each key checked.

A preset, the file ``config.yaml`` that a run saves and the keys of ``--set`` have one shape: ``seed``,
``symbol``, ``source``, ``models``, ``tune``, a section per stage, ``model.<name>`` for a model's hyper-parameters, and
``reading.<model or family>`` for what it reads: its feature set, scaling and selection of columns.
"""

import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from mlfactory.common.artifacts import clean
from mlfactory.common.errors import InputError
from mlfactory.common.params import Params, parse
from mlfactory.models import registry
from mlfactory_pipelines import readings

SECTIONS = ("ingest", "regime", "mtf", "features", "labels", "audit", "dataset", "oof", "stacking", "report")
PRESETS = Path(__file__).parent / "presets"
Tree = dict[str, Any]


class Top(Params):
    """Keys that belong to the run as a whole."""

    seed: int = Field(default=0, ge=0)
    symbol: str = ""
    """empty: the symbol of the embedded series"""
    source: str = "synthetic:"
    models: tuple[str, ...] = ()
    """base models to train; empty: every model that exists"""
    tune: int = Field(default=0, ge=0)
    """hyper-parameter settings to try in each fold, for the models that declare what to search; 0 for none"""


@dataclass(frozen=True)
class Plan:
    """Everything a run depends on besides the bytes of its bars."""

    top: Top
    sections: Mapping[str, Tree]
    """complete parameters of each stage, as JSON values without nulls"""
    hyper: Mapping[str, Tree]
    """complete hyper-parameters of each chosen model, likewise"""
    reading: Mapping[str, Tree]
    """per family or model, how it reads what it is given, as far as stated"""

    @property
    def horizons(self) -> list[int]:
        """Label horizons, in bars."""
        return [int(h) for h in self.sections["labels"]["horizons"]]

    @property
    def stages(self) -> tuple[str, ...]:
        """Stages that run, training apart; the audit is one where it is enabled."""
        return tuple(name for name in SECTIONS if self.sections[name].get("enabled", True))

    def jobs(self) -> dict[str, list[Tree]]:
        """Training jobs by family; a family without a chosen model is absent."""
        families: dict[str, list[Tree]] = {}
        for name in self.top.models:
            of = families.setdefault(registry.family_of(name), [])
            read: Tree = {"reading": reading} if (reading := readings.of(self.reading, name)) else {}
            if self.top.tune and registry.models()[name].search:
                read["tune"] = self.top.tune
            of.extend(
                {"model": name, "horizon": h, "params": self.hyper[name], **read} for h in self.horizons
            )
        return families

    def tree(self) -> Tree:
        """Return the configuration in the shape of a preset; resolving it again gives an equal plan."""
        top = {**self.top.model_dump(mode="json"), "models": list(self.top.models)}
        return {**top, **self.sections, "model": dict(self.hyper), "reading": dict(self.reading)}


def stage_params(section: str) -> type[Params]:
    """Import the parameters of a stage."""
    kind: type[Params] = importlib.import_module(f"mlfactory.{section}.params").Params
    return kind


def presets() -> list[str]:
    """Names of the presets that come with the package."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def read_tree(preset: str) -> Tree:
    """Read a preset by name, or any YAML file of the same shape by path.

    Raises:
        InputError: it does not exist, cannot be read, or is not a mapping in YAML.
    """
    path = Path(preset) if preset.endswith((".yaml", ".yml")) else PRESETS / f"{preset}.yaml"
    if not path.is_file():
        raise InputError(f"preset {preset!r} is not known; known: {', '.join(presets())}, or a YAML file")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not YAML: it is not text in UTF-8") from None
    return _mapping(text, str(path))


def _mapping(text: str, where: str) -> Tree:
    try:
        tree = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise InputError(f"{where} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise InputError(f"{where} is {type(tree).__name__}; expected keys such as {', '.join(SECTIONS)}")
    return tree


def override(tree: Tree, assignment: str) -> Tree:
    """Return ``tree`` with one ``section.key=value`` set; the value is read as YAML.

    Raises:
        InputError: there is no ``=``, a part of the key is empty, or the value is not YAML.
    """
    key, equals, text = assignment.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise InputError(
            f"--set {assignment!r}: expected section.key=value, for example labels.horizons=[20]"
        )
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(
            f"--set {assignment!r}: the value is not YAML: {' '.join(str(error).split())}"
        ) from None
    return _put(tree, parts, value)


def _put(tree: Any, parts: Sequence[str], value: Any) -> Tree:
    branch = dict(tree) if isinstance(tree, Mapping) else {}
    branch[parts[0]] = value if len(parts) == 1 else _put(branch.get(parts[0]), parts[1:], value)
    return branch


def resolve(tree: Tree) -> Plan:
    """Complete ``tree`` with the defaults of every stage and model.

    Raises:
        InputError: an unknown key, section or model (the known ones are listed), or a value out of range.
    """
    _only_known(tree)
    top = parse(Top, {key: tree[key] for key in Top.model_fields if key in tree}, "")
    models = _chosen(top.models)
    _check_tuned(top.tune, models)
    sections = {name: _section(name, tree.get(name)) for name in SECTIONS}
    drawn = _keys(_keys(tree.get("ingest"), "ingest").get("synthetic"), "ingest.synthetic")
    sections["ingest"]["synthetic"]["seed"] = drawn.get("seed", top.seed)
    sections["audit"]["seed"] = _keys(tree.get("audit"), "audit").get("seed", top.seed)
    given = _keys(tree.get("model"), "model")
    _require(given, list(registry.models()), "model")
    combining = {name: _keys(given[name], f"model.{name}") for name in given if name not in trainable()}
    _configure_combiners(sections["stacking"], combining)
    hyper = {name: _hyper(name, given.get(name)) for name in sorted({*given, *models} - {*combining})}
    reading = readings.checked(_keys(tree.get("reading"), "reading"), trainable())
    readings.assign(sections["dataset"], reading, models)
    top = top.model_copy(update={"models": models})
    return Plan(top, sections, {name: hyper[name] for name in models}, reading)


def _only_known(tree: Tree) -> None:
    known = [*Top.model_fields, *SECTIONS, "model", "reading"]
    for key in tree:
        if key not in known:
            raise InputError(f"{key!r} is not a section or key of a run; known: {', '.join(sorted(known))}")


def trainable() -> list[str]:
    """List the models that a training image fits, family by family; combiners are not among them."""
    return [name for name, info in registry.models().items() if info.family in registry.FEATURE_SETS]


def _chosen(wanted: Sequence[str]) -> tuple[str, ...]:
    """Order the chosen models by family and drop repetitions; none means all of them."""
    _require(wanted, trainable(), "models")
    return tuple(name for name in trainable() if name in wanted or not wanted)


def _require(names: Iterable[str], known: Sequence[str], where: str) -> None:
    for name in names:
        if name not in known:
            raise InputError(
                f"{where}: {name!r} is not a model that it can name; known: {', '.join(sorted(known))}"
            )


def _configure_combiners(stacking: Tree, given: Mapping[str, Mapping[str, Any]]) -> None:
    """Check the combiners and their hyper-parameters, and leave these to the stage that fits them."""
    settings = stacking["settings"]
    for name, values in given.items():
        settings[name] = {**settings.get(name, {}), **values}
    known = registry.combiners()
    _require(settings, known, "stacking.settings")
    wanted = stacking["combiners"]
    _require(wanted, known, "stacking.combiners")
    stacking["combiners"] = [name for name in known if name in wanted or not wanted]
    for name, values in settings.items():
        _hyper(name, values)


def _check_tuned(trials: int, chosen: Sequence[str]) -> None:
    able = [name for name, info in registry.models().items() if info.search]
    if trials and not {*able} & {*chosen}:
        raise InputError(
            f"tune is {trials}: none of {', '.join(chosen)} declares hyper-parameters to search; those that do: "
            f"{', '.join(able)}"
        )


def _keys(values: Any, where: str) -> Mapping[str, Any]:
    if values is not None and not isinstance(values, Mapping):
        raise InputError(f"{where} is {values!r}; expected keys and values")
    return values or {}


def _section(name: str, values: Any) -> Tree:
    full = parse(stage_params(name), _keys(values, name), name).model_dump(mode="json")
    return dict(_without_nulls(full))


def _hyper(name: str, values: Any) -> Tree:
    """Validate and complete the hyper-parameters of a model; the seed is the run's and none of them."""
    where, known = f"model.{name}", registry.models()[name].defaults
    for key in (given := _keys(values, where)):
        if key not in known:
            raise InputError(f"{where}.{key} is not a parameter; known: {', '.join(sorted(known))}")
    made = parse(registry.load_model(name), given, where)
    return dict(_without_nulls(clean({key: getattr(made, key) for key in known})))


def _without_nulls(value: Any) -> Any:
    """Drop keys without a value: KFP constants cannot hold null, and a missing key means the default."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def to_yaml(plan: Plan) -> str:
    """Write one line per section: short enough to read before a run, complete enough to repeat it."""
    lines = []
    for key, value in plan.tree().items():
        if key in ("model", "reading") and value:
            lines.append(f"{key}:\n")
            lines.extend(_line(f"  {name}", params) for name, params in value.items())
        else:
            lines.append(_line(key, value))
    return "".join(lines)


def _line(key: str, value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False, allow_unicode=True)
    return f"{key}: {text.removesuffix('...' + chr(10)).strip()}\n"
