"""Why there is no plan.

The tree, under :class:`~registry.GreenroomError`::

    NotCompilableError   the model is served by MLflow's own code, and why
    PlanError            a plan's files are not as they were written
"""

from typing import ClassVar

from registry import GreenroomError

__all__ = ["NotCompilableError", "PlanError"]


class NotCompilableError(GreenroomError):
    """The model has no plan; MLflow's own code answers for it.

    Args:
        reason: One plain sentence.
    """

    code: ClassVar[str] = "not_compilable"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class PlanError(GreenroomError):
    """A plan's files cannot be used.

    Args:
        what: One sentence.
    """

    code: ClassVar[str] = "plan"

    def __init__(self, what: str) -> None:
        super().__init__(what, hint="Prepare the version again.")
