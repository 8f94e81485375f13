"""The doors to MLflow: over REST, through its own client, or in memory; one contract for all."""

from .opening import open_store

__all__ = ["open_store"]
