"""Puts a plan together: which slots there are, who fills them, which features they become."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .artifacts import Opened
from .errors import NotCompilableError
from .files import PlanFiles
from .guarding import compile_guard
from .lookups import LookupSlot, compile_lookup
from .models import CompiledModel, compile_estimator
from .pipelines import Given, compile_transformer
from .symbols import Encoded, Feature, Number, Source, Text

__all__ = ["Assembly", "assemble"]

LIMIT: Final = 1e30
"""Numbers further from zero take MLflow's path; well inside float32, which trees compare in."""
MAX_TABLE: Final = 4_000_000
"""Cells of a one-hot table (32 MB)."""
MAX_SLOPE: Final = 1e8
"""Of a calibration: what a few last bits (1e-15) become stays below 1e-7."""
_SEARCHES: Final = frozenset({"GridSearchCV", "RandomizedSearchCV"})
"""Answer as the best estimator that they found."""
_NAN: Final = float("nan")


class Assembly:
    """A plan in the making.

    Args:
        opened: The loaded model.

    Attributes:
        features: What the estimator gets.
        model: The estimator.
    """

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        names, first = _list_features(opened)
        estimator = opened.pipeline
        made: list[Feature] = first
        given = Given(names, set(), with_none=opened.layers is None)
        while type(estimator).__name__ in {"Pipeline", *_SEARCHES}:
            if type(estimator).__name__ in _SEARCHES:
                estimator = estimator.best_estimator_
                continue
            for _, step in estimator.steps[:-1]:
                made = compile_transformer(step, made, given)
                given = given if step is None or step == "passthrough" else replace(given, names=None)
            estimator = estimator.steps[-1][1]
        self.estimator = estimator
        self.model: CompiledModel = compile_estimator(estimator)
        self.features: list[Number | Encoded] = [self._finish(feature) for feature in made]
        if len(self.features) != estimator.n_features_in_:
            raise NotCompilableError("The estimator takes another number of features than it gets.")
        self._refusing = given.refusing
        self._refuse_single()
        self._arrays: dict[str, NDArray[Any]] = dict(self.model.arrays)
        self._slots: dict[tuple[str, Source], int] = {}
        self._columns = {name: place for place, name in enumerate(self._raw_names())}
        self._codes: dict[Source, dict[str, Any]] = {}
        self._marks: dict[Source, dict[str, Any]] = {}

    def _refuse_single(self) -> None:
        """scikit-learn scales numbers of 32 bits in 32 bits, step by step; plans compute in 64."""
        given = self._opened.input
        columns = given["columns"] if given["kind"] == "table" else [{"name": None, "type": given["type"]}]
        single = {column["name"] for column in columns if column["type"] == "float"}
        for feature in self.features:
            if single & {None, feature.source[1]} and not (isinstance(feature, Number) and not feature.steps):
                raise NotCompilableError("Numbers of 32 bits are scaled or encoded.")

    def _raw_names(self) -> list[Any]:
        given = self._opened.input
        if given["kind"] == "table":
            return [column["name"] for column in given["columns"]]
        return list(range(given["width"]))

    def _finish(self, feature: Feature) -> Number | Encoded:
        if isinstance(feature, Text):
            raise NotCompilableError(f"The estimator gets the text of {feature.source[-1]!r}.")
        if isinstance(feature, Number) or self.model.takes_missing:
            return feature
        missing, unknown = (_or_none(value) for value in (feature.missing, feature.unknown))
        return Encoded(feature.source, feature.codes, missing, unknown)

    def takes_missing(self, feature: Number | Encoded) -> bool:
        """Whether the model answers where this feature's source is missing."""
        if feature.source in self._refusing:
            return False
        if isinstance(feature, Encoded):
            return feature.missing is not None
        return feature.takes_missing or self.model.takes_missing

    def make_files(self, example: Any = None) -> PlanFiles:
        """The plan's files."""
        groups = self._group()
        given = dict(self._opened.input)
        refusing = {feature.source[1] for feature in self.features if not self.takes_missing(feature)}
        refusing |= {source[1] for source in self._refusing}
        if given["kind"] == "table":
            given["columns"] = [
                {**column, "missing": column["name"] not in refusing} for column in given["columns"]
            ]
        else:
            given["missing"] = not refusing
        document = {
            "input": given,
            "limit": self._find_limit(),
            "contract": self._write_contract(),
            "answer": self._write_answer(),
            "guard": self._compile_guard(),
            "params": self._opened.layers is not None,
            "default": self._opened.default or "predict",
            "outputs": _list_outputs(self._opened, self.model),
            "slots": given.get("width", len(self._slots)),
            "makers": self._make_makers() if given["kind"] == "table" else [],
            "features": groups,
            "width": len(self.features),
            "estimator": self.model.estimator,
            "head": self.model.head,
            "example": example,
        }
        return PlanFiles(document, self._arrays, self.model.graph)

    def _write_contract(self) -> dict[str, Any] | None:
        contract = self._opened.contract
        return None if contract is None else {"text": contract.text, "refuses": contract.refuses}

    def _write_answer(self) -> dict[str, Any]:
        layer = (self._opened.layers or {}).get("answer", {})
        curves = layer.get("calibration", {}).get("curves", ())
        if layer.get("calibration", {}).get("method") == "isotonic" and any(map(_is_steep, curves)):
            raise NotCompilableError("Its calibration is so steep that the last bit of a probability counts.")
        return dict(layer)

    def _compile_guard(self) -> dict[str, Any] | None:
        if self._opened.guard is None or self._opened.layers is None:
            return None
        compiled = compile_guard(self._opened.guard, _list_layer_features(self._opened.layers), self._slot)
        self._arrays |= compiled.arrays
        self._marks = compiled.tables
        return compiled.guard

    def _slot(self, kind: str, source: Source) -> int:
        if self._opened.input["kind"] == "matrix":
            if kind != "number":
                raise NotCompilableError("It encodes columns that have no name.")
            return int(source[1])
        return self._slots.setdefault((kind, source), len(self._slots))

    def _group(self) -> list[dict[str, Any]]:
        """Features that are made in the same way, together."""
        by_source: dict[Source, list[int]] = {}
        by_steps: dict[tuple[str, ...], list[int]] = {}
        for place, feature in enumerate(self.features):
            if isinstance(feature, Encoded):
                by_source.setdefault(feature.source, []).append(place)
        for place, feature in enumerate(self.features):
            if isinstance(feature, Number):
                by_steps.setdefault(tuple(name for name, _ in feature.steps), []).append(place)
            elif len(by_source[feature.source]) == 1:
                by_steps.setdefault((), []).append(place)
        made = [self._group_steps(kinds, places) for kinds, places in by_steps.items()]
        made += [self._group_table(source, places) for source, places in by_source.items() if len(places) > 1]
        return made

    def _group_steps(self, kinds: tuple[str, ...], places: Sequence[int]) -> dict[str, Any]:
        steps = []
        for number, name in enumerate(kinds):
            operands = [self.features[place].steps[number][1] for place in places]  # type: ignore[union-attr]
            array = f"step_{len(self._arrays)}"
            self._arrays[array] = np.array(operands, dtype=np.float64).T.copy()
            steps.append([name, array])
        sources = [self._fill_slot(self.features[place]) for place in places]
        return {"from": sources, "to": list(places), "steps": steps}

    def _fill_slot(self, feature: Number | Encoded) -> int:
        if isinstance(feature, Number):
            return self._slot("number", feature.source)
        keys = list(feature.codes)
        self._codes[feature.source] = _table(
            keys, list(feature.codes.values()), feature.missing, feature.unknown
        )
        return self._slot("code", feature.source)

    def _group_table(self, source: Source, places: Sequence[int]) -> dict[str, Any]:
        """Several features per category: the code is a row of their table."""
        encoded = [feature for place in places if isinstance(feature := self.features[place], Encoded)]
        keys = list(dict.fromkeys(key for feature in encoded for key in feature.codes))
        rows: list[list[float | None]] = [
            [feature.codes.get(key, feature.unknown) for feature in encoded] for key in keys
        ]
        if any(None in row for row in rows):
            raise NotCompilableError(f"Two encoders of {source[-1]!r} know different categories.")
        missing, unknown = [f.missing for f in encoded], [f.unknown for f in encoded]
        rows += [[value or 0.0 for value in missing], [value or 0.0 for value in unknown]]
        if len(rows) * len(places) > MAX_TABLE:
            raise NotCompilableError(f"The column {source[-1]!r} has too many categories.")
        array = f"table_{len(self._arrays)}"
        self._arrays[array] = np.array(rows, dtype=np.float64)
        self._codes[source] = _table(
            keys,
            [float(number) for number in range(len(keys))],
            None if None in missing else float(len(keys)),
            None if None in unknown else float(len(keys) + 1),
        )
        return {"from": [self._slot("code", source)], "to": list(places), "table": array}

    def _make_makers(self) -> list[dict[str, Any]]:
        makers: list[dict[str, Any]] = []
        looked_up: dict[int, list[LookupSlot]] = {}
        for (kind, source), slot in self._slots.items():
            if source[0] == "lookup":
                looked_up.setdefault(source[1], []).append(self._make_lookup_slot(kind, source, slot))
            elif source[0] == "part":
                if kind != "number":
                    raise NotCompilableError("It encodes parts of moments.")
                column = self._columns[source[1]]
                makers.append({"make": "part", "column": column, "slot": slot, "part": source[2]})
            else:
                column = self._columns[source[1]]
                makers.append({**self._encode(kind, source), "column": column, "slot": slot})
        for number, slots in looked_up.items():
            assert self._opened.layers is not None
            lookup = self._opened.layers["lookups"][number]
            compiled = compile_lookup(lookup, self._opened.tables[number], slots, self._columns)
            self._arrays[f"lookup_{number}"] = compiled.rows
            self._arrays[f"places_{number}"] = compiled.places
            names = {"rows": f"lookup_{number}", "places": f"places_{number}"}
            if compiled.times is not None:
                names["times"] = f"times_{number}"
                self._arrays[names["times"]] = compiled.times
            makers.append({**compiled.maker, **names})
        return makers

    def _encode(self, kind: str, source: Source) -> dict[str, Any]:
        if kind == "number":
            return {"make": "number"}
        return {"make": "code", "table": (self._marks if kind == "mark" else self._codes)[source]}

    def _make_lookup_slot(self, kind: str, source: Source, slot: int) -> LookupSlot:
        if kind == "number":
            using = [feature for feature in self.features if feature.source == source]
            taken = all(self.takes_missing(f) for f in using if isinstance(f, Number))
            return LookupSlot(slot, source[2], None, _NAN if taken else None)
        table = self._encode(kind, source)["table"]
        codes = dict(zip(table["keys"], map(float, table["codes"]), strict=True))
        missing, unknown = (
            None if value is None else float(value) for value in (table["missing"], table["unknown"])
        )
        return LookupSlot(slot, source[2], codes, missing, unknown)

    def _find_limit(self) -> float:
        """How far from zero a number may be so that no step takes it out of range."""
        factor = 1.0
        for feature in self.features:
            here = 1.0
            for name, operand in feature.steps if isinstance(feature, Number) else ():
                here *= abs(operand) if name == "multiply" else 1.0
                here /= abs(operand) if name == "divide" and operand else 1.0
            factor = max(factor, here)
        return LIMIT / factor


def assemble(opened: Opened) -> Assembly:
    """Compiles a loaded model.

    Raises:
        NotCompilableError: Something in it is not known.
    """
    return Assembly(opened)


def _list_features(opened: Opened) -> tuple[list[str] | None, list[Feature]]:
    """Names and features that the pipeline gets."""
    if opened.layers is not None:
        kinds = _list_layer_features(opened.layers)
        names = list(opened.layers["features"])
        return names, [kinds[name] for name in names]
    if opened.input["kind"] == "matrix":
        return None, [Number(("column", place)) for place in range(opened.input["width"])]
    columns = opened.input["columns"]
    made: Iterable[Feature] = (
        Text(("column", column["name"])) if column["type"] == "string" else Number(("column", column["name"]))
        for column in columns
    )
    return [column["name"] for column in columns], list(made)


def _list_layer_features(layers: Mapping[str, Any]) -> dict[str, Feature]:
    made: dict[str, Feature] = {}
    for column in layers["columns"]:
        source: Source = ("column", column["name"])
        if column["type"] != "datetime":
            made[column["name"]] = Text(source) if column["type"] == "category" else Number(source)
    for name, parts in layers["datetime"].items():
        made |= {f"{name}.{part}": Number(("part", name, part)) for part in parts}
    for number, lookup in enumerate(layers["lookups"]):
        for column in lookup["columns"]:
            source = ("lookup", number, column["name"])
            feature = Text(source) if column["type"] == "category" else Number(source)
            made[lookup["prefix"] + column["name"]] = feature
    return made


def _is_steep(curve: Sequence[Sequence[float]]) -> bool:
    """Whether an isotonic curve, places and values, turns rounding into a difference that is seen."""
    places, values = (np.asarray(part) for part in curve)
    return bool((np.diff(values) > MAX_SLOPE * np.diff(places)).any())


def _list_outputs(opened: Opened, model: CompiledModel) -> dict[str, Any]:
    label = {"kind": "label"}
    if opened.layers is None:
        if opened.function == "predict":
            return {"predict": label}
        if model.head["probability"] is None:
            raise NotCompilableError("Its probabilities are not known.")
        return {"predict": {"kind": "vector"}}
    layer, guarded = opened.layers.get("answer", {}), {"guard": opened.guard is not None}
    if not opened.layers["has_probability"]:
        return {"answer": label, "full": {"kind": "record", "answer": "answer", "names": [], **guarded}}
    if model.head["probability"] is None:
        raise NotCompilableError("Its probabilities are not known.")
    classes = [str(label) for label in layer.get("labels", opened.layers["classes"])]
    full = [f"probability_{label}" for label in classes]
    return {
        "answer": label,
        "probability": {"kind": "record", "answer": "", "names": classes},
        "full": {"kind": "record", "answer": "answer", "names": full, **guarded},
    }


def _table(
    keys: list[Any], codes: list[float], missing: float | None, unknown: float | None
) -> dict[str, Any]:
    return {
        "keys": keys,
        "codes": [_to_json(code) for code in codes],
        "missing": _to_json(missing),
        "unknown": _to_json(unknown),
    }


def _to_json(number: float | None) -> float | str | None:
    """NaN as text, for JSON has none."""
    return "NaN" if number is not None and np.isnan(number) else number


def _or_none(number: float | None) -> float | None:
    return None if number is None or np.isnan(number) else number
