"""Opens the history of a model with what the environment says: which MLflow, which actor."""

from .environment import Settings, get_host, get_user_name, read_settings
from .ledger.ledger import Actor, Ledger
from .names import check_model_name
from .store import RegistryStore

__all__ = ["find_actor", "open_ledger"]


def open_ledger(name: str, *, settings: Settings | None = None, store: RegistryStore | None = None) -> Ledger:
    """The history of a model.

    Args:
        name: The registered model.
        settings: Which MLflow; read from the environment if None.
        store: An open store, if there is one already.

    Raises:
        UsageError: The name cannot be a model's.
        UnreachableError: MLflow gives no answer.
    """
    from .stores import open_store  # noqa: PLC0415 - not on the way to --help

    check_model_name(name)
    settings = settings or read_settings()
    store = store or open_store(settings)
    return Ledger(store, name, actor=find_actor(store, settings), template=settings.ledger_experiment)


def find_actor(store: RegistryStore, settings: Settings) -> Actor:
    """Who acts: MLflow's authenticated user, else ``GREENROOM_ACTOR``, else user and host of this machine."""
    user = store.get_user()
    if user is not None:
        return Actor(user, source="server")
    return Actor(settings.actor or f"{get_user_name()}@{get_host()}")
