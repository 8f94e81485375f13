"""What scikit-learn's transformers do to single columns, as steps and tables; refuses every other one.

A transformer is known by its exact class. Encoders' tables are not written anew but read off: the fitted
encoder itself is asked for each of its categories, a missing one and an unknown one.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pandas as pd

from .errors import NotCompilableError
from .symbols import Encoded, Feature, Number, Source, Text, apply_step, is_missing

__all__ = ["Given", "compile_transformer"]


@dataclass(frozen=True, slots=True)
class Given:
    """How features come to a transformer.

    Attributes:
        names: Their names, where they come as a table.
        refusing: Grows: what must not be missing, because a transformer on the way refuses that.
        with_none: Whether a missing text may come as None (a column of nothing else) instead of NaN.
    """

    names: Sequence[str] | None
    refusing: set[Source]
    with_none: bool = False


UNKNOWN_TEXT: Final = "\u2047 no such category \u2047"


def compile_transformer(transformer: Any, features: Sequence[Feature], given: Given) -> list[Feature]:
    """Returns the features that come out.

    Args:
        transformer: Fitted; ``"passthrough"``, ``"drop"`` and None are taken too.
        features: What goes in, in order.
        given: How they come.

    Raises:
        NotCompilableError: The transformer is not known, or used in a way that is not.
    """
    if transformer is None or transformer == "passthrough":
        return list(features)
    if isinstance(transformer, str):
        return []
    path = _path(transformer)
    known = _KNOWN.get(path)
    if known is None:
        raise NotCompilableError(f"The transformer {path} is not known.")
    return known(transformer, features, given)


def _path(thing: Any) -> str:
    return f"{type(thing).__module__.partition('.')[0]}.{type(thing).__name__}"


def _compile_pipeline(pipeline: Any, features: Sequence[Feature], given: Given) -> list[Feature]:
    made = list(features)
    for _, step in pipeline.steps:
        made = compile_transformer(step, made, given)
        given = given if step is None or step == "passthrough" else replace(given, names=None)
    return made


def _compile_columns(table: Any, features: Sequence[Feature], given: Given) -> list[Feature]:
    made: list[Feature] = []
    for _, transformer, wanted in table.transformers_:
        places = list(_locate(wanted, given.names, len(features)))
        names = None if given.names is None else [given.names[place] for place in places]
        if places:
            chosen = [features[place] for place in places]
            made.extend(compile_transformer(transformer, chosen, replace(given, names=names)))
    return made


def _locate(wanted: Any, names: Sequence[str] | None, width: int) -> Iterator[int]:
    """Places of the columns that a ColumnTransformer's entry means."""
    if isinstance(wanted, str):
        raise NotCompilableError(f"A transformer takes the single column {wanted!r} as a list of values.")
    if isinstance(wanted, slice):
        if not all(bound is None or isinstance(bound, int) for bound in (wanted.start, wanted.stop)):
            raise NotCompilableError("A transformer's columns are given by a range of names.")
        yield from range(width)[wanted]
        return
    entries = list(wanted)
    if entries and all(isinstance(entry, bool | np.bool_) for entry in entries):
        yield from (place for place, chosen in enumerate(entries) if chosen)
        return
    for entry in entries:
        if isinstance(entry, str):
            if names is None or entry not in names:
                raise NotCompilableError(f"A transformer takes a column {entry!r} that has no place.")
            yield list(names).index(entry)
        else:
            yield range(width)[int(entry)]


def _compile_union(union: Any, features: Sequence[Feature], given: Given) -> list[Feature]:
    if union.transformer_weights:
        raise NotCompilableError("A FeatureUnion has weights.")
    made: list[Feature] = []
    for _, transformer in union.transformer_list:
        made.extend(compile_transformer(transformer, features, given))
    return made


def _compile_selector(selector: Any, features: Sequence[Feature], given: Given) -> list[Feature]:
    from sklearn.utils import get_tags  # noqa: PLC0415 - loaded with the model

    chosen = [feature for feature, taken in zip(features, selector.get_support(), strict=True) if taken]
    if not get_tags(selector).input_tags.allow_nan:
        given.refusing.update(
            feature.source
            for feature in features
            if isinstance(feature, Number) and not feature.takes_missing
        )
    left = {feature.source for feature in chosen}
    for feature in features:
        if isinstance(feature, Encoded) and feature.unknown is None and feature.source not in left:
            raise NotCompilableError(f"Only the encoder of {feature.source[-1]!r} looks at it, to refuse.")
    return chosen


def _compile_identity(function: Any, features: Sequence[Feature], given: Given) -> list[Feature]:
    del given
    if function.func is not None:
        raise NotCompilableError("A FunctionTransformer calls a function.")
    return list(features)


def _compile_imputer(imputer: Any, features: Sequence[Feature], given: Given) -> list[Feature]:
    del given
    if imputer.add_indicator or not is_missing(imputer.missing_values):
        raise NotCompilableError("A SimpleImputer adds indicators, or its missing value is not NaN.")
    made: list[Feature] = []
    for feature, statistic in zip(features, imputer.statistics_, strict=True):
        if is_missing(statistic):
            if imputer.keep_empty_features:
                raise NotCompilableError("A SimpleImputer keeps a column that was empty in training.")
            continue  # scikit-learn drops a column that was empty in training
        if isinstance(feature, Text):
            made.append(Text(feature.source, feature.fill or str(statistic)))
        else:
            made.append(apply_step(feature, ("fill", float(statistic))))
    return made


def _scale(feature: Feature, name: str, operand: Any) -> Feature:
    if isinstance(feature, Text):
        raise NotCompilableError("A scaler gets text.")
    return apply_step(feature, (name, operand))


def _compile_steps(features: Sequence[Feature], *steps: tuple[str, Any]) -> list[Feature]:
    """Steps with one operand per feature; an operand of None means there is no such step."""
    made = list(features)
    for name, operands in steps:
        if operands is not None:
            made = [
                _scale(feature, name, float(operand)) for feature, operand in zip(made, operands, strict=True)
            ]
    return made


def _compile_standard(scaler: Any, features: Sequence[Feature], given: Given) -> list[Feature]:
    del given
    return _compile_steps(
        features,
        ("subtract", scaler.mean_ if scaler.with_mean else None),
        ("divide", scaler.scale_ if scaler.with_std else None),
    )


def _compile_min_max(scaler: Any, features: Sequence[Feature], given: Given) -> list[Feature]:
    del given
    made = _compile_steps(features, ("multiply", scaler.scale_), ("add", scaler.min_))
    if scaler.clip:
        low, high = scaler.feature_range
        made = [_scale(feature, "clip", (float(low), float(high))) for feature in made]
    return made


def _compile_max_abs(scaler: Any, features: Sequence[Feature], given: Given) -> list[Feature]:
    del given
    if getattr(scaler, "clip", False):
        raise NotCompilableError("A MaxAbsScaler clips.")
    return _compile_steps(features, ("divide", scaler.scale_))


def _compile_robust(scaler: Any, features: Sequence[Feature], given: Given) -> list[Feature]:
    del given
    return _compile_steps(
        features,
        ("subtract", scaler.center_ if scaler.with_centering else None),
        ("divide", scaler.scale_ if scaler.with_scaling else None),
    )


def _compile_encoder(encoder: Any, features: Sequence[Feature], given: Given) -> list[Feature]:
    widths = _count_outputs(encoder)
    made: list[Feature] = []
    start = 0
    for place, feature in enumerate(features):
        if isinstance(feature, Encoded) or (isinstance(feature, Number) and feature.steps):
            raise NotCompilableError("An encoder gets numbers that were computed.")
        outputs = slice(start, start + widths[place])
        made.extend(_read_encoder(encoder, features, place, outputs, given))
        start = outputs.stop
    return made


def _count_outputs(encoder: Any) -> list[int]:
    kind = type(encoder).__name__
    if kind == "OneHotEncoder":
        return [int(width) for width in encoder._n_features_outs]  # noqa: SLF001 - there is no public name
    if kind == "TargetEncoder" and encoder.target_type_ == "multiclass":
        return [len(encoder.classes_)] * len(encoder.categories_)
    return [1] * len(encoder.categories_)


def _read_encoder(
    encoder: Any, features: Sequence[Feature], place: int, outputs: slice, given: Given
) -> list[Encoded]:
    """Asks the encoder for all categories of one column, the other columns standing still."""
    feature = features[place]
    assert not isinstance(feature, Encoded)
    keys = [_key(category) for category in encoder.categories_[place] if not is_missing(category)]
    known = _ask(encoder, features, place, keys)
    if known is None:
        raise NotCompilableError("An encoder refuses its own categories.")
    missing = _ask_missing(encoder, features, place, given)
    strange = UNKNOWN_TEXT if isinstance(feature, Text) else max([0.0, *map(float, keys)]) + 12345.5
    unknown = _ask(encoder, features, place, [strange])
    return [
        Encoded(
            feature.source,
            {key: float(row[output]) for key, row in zip(keys, known, strict=True)},
            None if missing is None else float(missing[0, output]),
            None if unknown is None else float(unknown[0, output]),
        )
        for output in range(outputs.start, outputs.stop)
    ]


def _ask_missing(encoder: Any, features: Sequence[Feature], place: int, given: Given) -> Any:
    """The encoder's row for a missing value; None if it refuses it, or takes NaN and None differently."""
    feature = features[place]
    if isinstance(feature, Text) and feature.fill is not None:  # an imputer fills NaN, but not None
        return None if given.with_none else _ask(encoder, features, place, [feature.fill])
    made = _ask(encoder, features, place, [np.nan])
    if made is None or not (isinstance(feature, Text) and given.with_none):
        return made
    other = _ask(encoder, features, place, [None])
    return made if other is not None and np.array_equal(made, other, equal_nan=True) else None


def _ask(encoder: Any, features: Sequence[Feature], place: int, values: Sequence[Any]) -> Any:
    """The encoder's rows for some values in one column; None if it refuses them."""
    table = {}
    for number, feature in enumerate(features):
        usual = next(value for value in encoder.categories_[number] if not is_missing(value))
        column: Sequence[Any] = values if number == place else [_key(usual)] * len(values)
        table[number] = pd.Series(column, dtype=object if isinstance(feature, Text) else np.float64)
    frame = pd.DataFrame(table)
    if hasattr(encoder, "feature_names_in_"):
        frame.columns = pd.Index(encoder.feature_names_in_)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = encoder.transform(frame)
        except (ValueError, TypeError):
            return None
    return made.toarray() if hasattr(made, "toarray") else np.asarray(made, dtype=np.float64)


def _key(category: Any) -> Any:
    """A category as requests bring it: text, or a number."""
    return category if isinstance(category, str) else float(category)


_Compile = Callable[[Any, Sequence[Feature], Any], list[Feature]]
_KNOWN: Final[Mapping[str, _Compile]] = {
    "sklearn.Pipeline": _compile_pipeline,
    "sklearn.ColumnTransformer": _compile_columns,
    "sklearn.FeatureUnion": _compile_union,
    "sklearn.FunctionTransformer": _compile_identity,
    "sklearn.SimpleImputer": _compile_imputer,
    "sklearn.StandardScaler": _compile_standard,
    "sklearn.MinMaxScaler": _compile_min_max,
    "sklearn.MaxAbsScaler": _compile_max_abs,
    "sklearn.RobustScaler": _compile_robust,
    "sklearn.OneHotEncoder": _compile_encoder,
    "sklearn.OrdinalEncoder": _compile_encoder,
    "sklearn.TargetEncoder": _compile_encoder,
    "sklearn.SelectKBest": _compile_selector,
    "sklearn.SelectPercentile": _compile_selector,
    "sklearn.VarianceThreshold": _compile_selector,
    "sklearn.SelectFromModel": _compile_selector,
}
