"""One sha256 over every value of a table, its column names and types.

MLflow's own dataset digest covers the first 10,000 rows only. This one depends on the order of rows and
columns, and not on how the rows were chunked when they were read.
"""

import hashlib
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["compute_table_digest"]


def compute_table_digest(frame: "pd.DataFrame") -> str:
    """The table's sha256 in hex.

    Hashes, per column: name, Arrow type, row count, which values are missing, and the values themselves. All
    missing values are equal (NaN, None and NaT). Columns of mixed Python objects go in as ``repr``.

    Source: Arrow columnar format, https://arrow.apache.org/docs/format/Columnar.html (values and validity).
    """
    digest = hashlib.sha256(b"greenroom-table/1")
    for name in frame.columns:
        _add_text(digest, str(name))
        _add_column(digest, frame[name])
    return digest.hexdigest()


def _add_column(digest: Any, column: "pd.Series[Any]") -> None:
    import pyarrow as pa  # noqa: PLC0415 - slow import

    try:
        values = pa.array(column, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        values = pa.array([f"{type(value).__name__}:{value!r}" for value in column])
        _add_text(digest, "mixed")
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    _add_values(digest, values)


def _add_values(digest: Any, values: "pa.Array[Any]") -> None:
    import numpy as np  # noqa: PLC0415 - slow import
    import pyarrow as pa  # noqa: PLC0415 - slow import
    import pyarrow.compute as pc  # noqa: PLC0415 - slow import

    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        kind, values = pa.string(), values.cast(pa.large_string())
    elif not (pa.types.is_primitive(kind) or pa.types.is_null(kind)):
        values = pa.array([repr(value) for value in values.to_pylist()], pa.large_string())
    _add_text(digest, f"{kind}:{len(values)}")
    digest.update(np.packbits(pc.is_null(values, nan_is_null=True).to_numpy(zero_copy_only=False)).tobytes())
    if pa.types.is_null(values.type):
        return
    if pa.types.is_large_string(values.type):
        filled = pc.fill_null(values, "")
        digest.update(pc.binary_length(filled).cast(pa.int64()).to_numpy(zero_copy_only=False).tobytes())
        offsets = np.frombuffer(filled.buffers()[1], dtype=np.int64)[filled.offset :][: len(filled) + 1]
        data = filled.buffers()[2]
        if data is not None and len(offsets):
            digest.update(memoryview(data)[offsets[0] : offsets[-1]])
        return
    digest.update(_to_bytes(values))


def _to_bytes(values: "pa.Array[Any]") -> bytes:
    """Fixed-width values with zeros where missing."""
    import numpy as np  # noqa: PLC0415 - slow import

    plain = values.to_numpy(zero_copy_only=False)
    if plain.dtype.kind in "mM":
        plain = plain.view("int64")
    elif plain.dtype.kind not in "fiub":
        return "\0".join(repr(value) for value in values.to_pylist()).encode()
    missing = ~np.asarray(values.is_valid()) if values.null_count else None
    if plain.dtype.kind == "f":
        missing = np.isnan(plain)
    if missing is not None and missing.any():
        plain = np.where(missing, plain.dtype.type(0), plain)
    return np.ascontiguousarray(plain).tobytes()


def _add_text(digest: Any, text: str) -> None:
    raw = text.encode("utf-8", "surrogatepass")
    digest.update(struct.pack("<q", len(raw)) + raw)
