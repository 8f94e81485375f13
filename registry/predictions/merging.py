"""Puts a writer's own small files together, so that quiet models do not leave a million of them.

Every few minutes what one writer added to one day becomes one file, which is written whole before the small
ones are removed. Its name says which they were: a reader that finds both takes the large one.
"""

from collections import Counter
from typing import TYPE_CHECKING, Final

from .places import list_parts, name_merged
from .storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Merger", "remove_merged"]

MERGE_PARTS: Final = 60
"""At a flush interval of 5 s: every five minutes."""
MANY_ROWS: Final = 5_000
"""A file with more stays as it is, and ten times as many are enough for a large one: bounds memory."""


class Merger:
    """Of one writer.

    Args:
        storage: The log's.
        parts: So many small files become one.
    """

    def __init__(self, storage: Storage, parts: int = MERGE_PARTS) -> None:
        self._storage = storage
        self._parts = parts
        self._runs: dict[str, list[str]] = {}
        self._rows: Counter[str] = Counter()
        self._due: list[tuple[str, list[str]]] = []

    def note(self, name: str, rows: int) -> None:
        """A file was written."""
        folder, _, file = name.rpartition("/")
        if folder not in self._runs:
            self._end_other_days(folder)
        run = self._runs.setdefault(folder, [])
        if rows > MANY_ROWS:
            self._end(folder)  # only files that follow each other are put together
        elif file not in run:
            run.append(file)
            self._rows[folder] += rows
        if len(run) >= self._parts or self._rows[folder] >= 10 * MANY_ROWS:
            self._end(folder)

    def merge(self) -> None:
        """Puts together what is due.

        Raises:
            GreenroomError: The storage cannot be read, written or deleted from; what was small stays so.
        """
        while self._due:
            self._merge(*self._due.pop())  # whatever becomes of it, it is not tried again

    def _end_other_days(self, folder: str) -> None:
        parent = folder.rpartition("/")[0]
        for other in [name for name in self._runs if name.rpartition("/")[0] == parent]:
            self._end(other)

    def _end(self, folder: str) -> None:
        """What follows begins another large file."""
        run = self._runs.pop(folder)
        del self._rows[folder]
        if len(run) > 1:
            self._due.append((folder, run))

    def _merge(self, folder: str, names: list[str]) -> None:
        from .parts import encode_table  # noqa: PLC0415 - it uses this module

        contents = [self._storage.read(f"{folder}/{name}") for name in names]
        table = _join([content for content in contents if content is not None])
        if table is None or None in contents:
            return
        self._storage.write(f"{folder}/{name_merged(names)}", encode_table(table))
        for name in names:
            self._storage.delete(f"{folder}/{name}")


def remove_merged(storage: Storage, folder: str) -> None:
    """Removes small files that a writer had put together, and was killed before it removed them.

    Raises:
        GreenroomError: The storage cannot be read or deleted from.
    """
    names = [name for name in storage.list_files(folder) if name.startswith("part-")]
    for name in set(names) - set(list_parts(names)):
        storage.delete(f"{folder}/{name}")


def _join(contents: list[bytes]) -> "pa.Table | None":
    """All rows in one table; None if a column is of another kind in one of them."""
    import pyarrow as pa  # noqa: PLC0415 - heavy
    import pyarrow.parquet as pq  # noqa: PLC0415 - heavy

    tables = [pq.ParquetFile(pa.BufferReader(content)).read() for content in contents]
    kinds: dict[str, set[tuple[str, bytes]]] = {}
    for field in (field for table in tables for field in table.schema):
        if not pa.types.is_null(field.type):
            encoding = (field.metadata or {}).get(b"encoding", b"")
            kinds.setdefault(field.name, set()).add((str(field.type), encoding))
    if any(len(found) > 1 for found in kinds.values()):
        return None
    return pa.concat_tables(tables, promote_options="default")
