"""MLflow's JSON documents as Greenroom's frozen values; absent keys have protobuf's defaults."""

from collections.abc import Mapping, Sequence
from typing import Any

from registry.store import Experiment, ModelVersion, RegisteredModel, Run

__all__ = [
    "build_pairs",
    "find_model_id",
    "parse_experiment",
    "parse_model",
    "parse_run",
    "parse_version",
]


def parse_model(document: Mapping[str, Any]) -> RegisteredModel:
    """A ``registered_model``."""
    return RegisteredModel(
        name=document["name"],
        aliases={pair["alias"]: str(pair["version"]) for pair in document.get("aliases", ())},
        tags=_parse_pairs(document.get("tags", ())),
        description=document.get("description", ""),
        created_ms=int(document.get("creation_timestamp", 0)),
    )


def parse_version(document: Mapping[str, Any]) -> ModelVersion:
    """A ``model_version``."""
    source = document.get("source", "")
    return ModelVersion(
        name=document["name"],
        version=str(document["version"]),
        created_ms=int(document.get("creation_timestamp", 0)),
        source=source,
        run_id=document.get("run_id") or None,
        model_id=document.get("model_id") or find_model_id(source),
        status=document.get("status", "READY"),
        tags=_parse_pairs(document.get("tags", ())),
        description=document.get("description", ""),
        user=document.get("user_id", ""),
        deprecated_stage=document.get("current_stage", "None").replace("None", ""),
    )


def parse_experiment(document: Mapping[str, Any]) -> Experiment:
    """An ``experiment``."""
    return Experiment(
        experiment_id=str(document["experiment_id"]),
        name=document["name"],
        active=document.get("lifecycle_stage", "active") == "active",
        tags=_parse_pairs(document.get("tags", ())),
        created_ms=int(document.get("creation_time", 0)),
    )


def parse_run(document: Mapping[str, Any]) -> Run:
    """A ``run``."""
    info, data = document["info"], document.get("data", {})
    return Run(
        run_id=info["run_id"],
        experiment_id=str(info.get("experiment_id", "")),
        name=info.get("run_name", ""),
        status=info.get("status", "RUNNING"),
        active=info.get("lifecycle_stage", "active") == "active",
        params=_parse_pairs(data.get("params", ())),
        tags=_parse_pairs(data.get("tags", ())),
        metrics={pair["key"]: float(pair.get("value", 0.0)) for pair in data.get("metrics", ())},
        start_ms=int(info.get("start_time", 0)),
        end_ms=int(info["end_time"]) if info.get("end_time") else None,
        artifact_uri=info.get("artifact_uri", ""),
        user=info.get("user_id", ""),
    )


def build_pairs(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as MLflow's JSON has them."""
    return [{"key": key, "value": value} for key, value in tags.items()]


def find_model_id(source: str) -> str | None:
    """The logged model that a version's source names: the server does not say it otherwise.

    >>> find_model_id("models:/m-e67a90c2ea9c43f39dde77520ef1b939")
    'm-e67a90c2ea9c43f39dde77520ef1b939'
    >>> find_model_id("models:/flight-delay/3") is None
    True
    """
    head = source.removeprefix("models:/")
    return head if source.startswith("models:/") and head and not {"/", "@"} & set(head) else None


def _parse_pairs(pairs: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {pair["key"]: pair.get("value", "") for pair in pairs}
