"""The short life of a model, as the browser tests look at it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Story:
    """A model that was trained, staged, and went to production."""

    uri: str
    name: str
    version: str
    run_id: str
    experiment_id: str
    evidence_run: str
    evidence_experiment: str
