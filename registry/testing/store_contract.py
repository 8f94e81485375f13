"""The contract of :class:`~registry.RegistryStore`, as tests.

Subclass it and give it a ``store`` and a ``seed``. Every name used is a fresh one, so a server that is shared
with other tests will do.
"""

from .artifact_contract import ArtifactContract
from .model_contract import ModelContract
from .run_contract import RunContract

__all__ = ["StoreContract"]


class StoreContract(ModelContract, RunContract, ArtifactContract):
    """Every method, and every promise of the protocol's docstrings."""
