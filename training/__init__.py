"""From data to a candidate version: jobs that train, measure and log to MLflow.

The front door. Names are resolved when first used (PEP 562), so opening it costs nothing::

    from training import Job, train

    job = Job.from_frame(frame, name="cancer", target="benign")
    result = train(job)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names for type checkers; a house test holds both lists equal
    from .job import Job as Job
    from .jobfile import read_job as read_job
    from .online.result import OnlineResult as OnlineResult
    from .online.trainer import train_online as train_online
    from .progress import Progress as Progress, SilentProgress as SilentProgress
    from .result import TrainingPlan as TrainingPlan, TrainingResult as TrainingResult
    from .trainer import plan_training as plan_training, train as train

_ROOMS = {
    "job": ["Job"],
    "jobfile": ["read_job"],
    "online.result": ["OnlineResult"],
    "online.trainer": ["train_online"],
    "progress": ["Progress", "SilentProgress"],
    "result": ["TrainingPlan", "TrainingResult"],
    "trainer": ["plan_training", "train"],
}
_HOMES = {name: module for module, names in _ROOMS.items() for name in names}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - one list, kept in one place


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'training' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
