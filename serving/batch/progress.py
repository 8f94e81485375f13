"""Rows, rows per second and time left, on a terminal; nothing in a pipe."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["Progress", "showing_progress"]


class Progress:
    """Counts rows of parts, each of which may begin again.

    Args:
        bar: A tqdm bar.
        done: Rows that were done before.
    """

    def __init__(self, bar: "tqdm[NoReturn]", done: int) -> None:
        self._bar = bar
        self._rows: dict[int, int] = {}
        self._done = done

    def tell(self, part: int, rows: int) -> None:
        """So many rows of this part are read."""
        self._rows[part] = rows
        self._bar.n = self._done + sum(self._rows.values())
        self._bar.refresh()


@contextmanager
def showing_progress(total: int | None, done: int) -> Iterator[Progress]:
    """A bar for the length of the block.

    Args:
        total: Rows of the whole input; None if it is not known.
        done: Rows that were done before.
    """
    from tqdm import tqdm  # noqa: PLC0415 - not on the way to --help

    size = shutil.get_terminal_size()  # tqdm shows nothing on a terminal that does not tell its size
    with tqdm(
        total=total,
        initial=done,
        unit=" rows",
        unit_scale=True,
        disable=None,
        leave=False,
        file=sys.stderr,
        ncols=size.columns,
        nrows=size.lines,
    ) as bar:
        yield Progress(bar, done)
