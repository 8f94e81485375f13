"""What a plan was made by and for: it is used again only where all of this is the same."""

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

__all__ = ["name_runtime"]

LIBRARIES: Final = (
    "mlflow", "numpy", "onnx", "onnxruntime", "orjson", "pandas", "scikit-learn", "skl2onnx", "skops",
)  # fmt: skip


@cache
def name_runtime() -> str:
    """A name for this Python, processor, these libraries, and the compiler's own sources."""
    sources = sorted((Path(__file__).parent / "compiled").glob("*.py"))
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
