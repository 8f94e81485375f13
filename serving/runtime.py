"""What a plan was made by and for: it is used again only where all of this is the same."""

import hashlib
import platform
from functools import cache
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

__all__ = ["name_runtime"]

LIBRARIES: Final = (
    "mlflow", "numpy", "onnx", "onnxruntime", "orjson", "pandas", "scikit-learn", "skl2onnx", "skops",
)  # fmt: skip


@cache
def name_runtime() -> str:
    """A name for this Python, processor, these libraries, the compiler's and the contract's sources."""
    folders = [Path(__file__).parent / "compiled", Path(str(resources.files("registry"))) / "contract"]
    sources = sorted(path for folder in folders for path in folder.glob("*.py"))
    parts = [
        platform.python_version(),
        platform.machine(),
        *(f"{name} {_find_version(name)}" for name in LIBRARIES),
        *(hashlib.sha256(path.read_bytes()).hexdigest() for path in sources),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _find_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
