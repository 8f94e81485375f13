"""What a scoring server says about itself: ``GET /info``."""

from typing import Any, Final

from .live import Live, ServedModel
from .settings import ServeSettings

__all__ = ["describe_server", "is_ready"]

SCHEMA: Final = "greenroom/serving/1"
WHY_NATIVE: Final = "every version is answered by MLflow's own scoring code"


def is_ready(served: ServedModel | None) -> bool:
    """Whether predictions can be answered: a model is published only once it is loaded and warm."""
    return served is not None


def describe_server(settings: ServeSettings, live: Live, served: ServedModel | None) -> dict[str, Any]:
    """The document of ``GET /info``. Keys may be added, never changed."""
    following = live.following
    previous = live.previous
    return {
        "schema": SCHEMA,
        "model": settings.model,
        "stage": settings.stage,
        "ready": is_ready(served),
        **_describe_model(served),
        "previous": previous.version if previous else None,
        "degraded": bool(following.problems),
        "problems": list(following.problems),
        "refused": following.refused,
    }


def _describe_model(served: ServedModel | None) -> dict[str, Any]:
    """The same keys whether or not something is served."""
    target = served.target if served else None
    return {
        "version": target.version if target else None,
        "seq": target.seq if target else None,
        "since": target.since if target else None,
        "run_id": target.run_id if target else None,
        "managed": target.managed if target else None,
        "manifest": served.manifest if served else None,
        "engine": served.scorer.engine if served else None,
        "engine_reason": WHY_NATIVE if served else None,
        "warm": served.warm if served else False,
        "from_cache": served.from_cache if served else False,
    }
