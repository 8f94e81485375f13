"""What a scoring server says about itself: ``GET /info``."""

from typing import Any, Final

from .live import ServedModel, State
from .settings import ServeSettings

__all__ = ["describe_server", "is_ready"]

SCHEMA: Final = "greenroom/serving/1"


def is_ready(served: ServedModel | None) -> bool:
    """Whether predictions can be answered: a model is published only once it is loaded and warm."""
    return served is not None


def describe_server(settings: ServeSettings, state: State, served: ServedModel | None) -> dict[str, Any]:
    """The document of ``GET /info``. Keys may be added, never changed."""
    following = state.following
    return {
        "schema": SCHEMA,
        "model": settings.model,
        "stage": settings.stage,
        "ready": is_ready(served),
        **_describe_model(served),
        "previous": state.previous.version if state.previous else None,
        "staged": state.staged.version if state.staged else None,
        "preparing": following.preparing,
        "degraded": bool(following.problems),
        "problems": list(following.problems),
        "refused": following.refused,
    }


def _describe_model(served: ServedModel | None) -> dict[str, Any]:
    """The same keys whether or not something is served."""
    prepared = served.prepared if served else None
    target = prepared.target if prepared else None
    return {
        "version": target.version if target else None,
        "seq": target.seq if target else None,
        "since": target.since if target else None,
        "run_id": target.run_id if target else None,
        "managed": target.managed if target else None,
        "manifest": prepared.manifest if prepared else None,
        "engine": prepared.engine if prepared else None,
        "engine_reason": prepared.reason if prepared else None,
        "warm": prepared.warm if prepared else False,
        "from_cache": prepared.from_cache if prepared else False,
    }
