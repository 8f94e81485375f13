"""What every table must look like before anybody works with it."""

from collections import Counter

import pandas as pd

from registry.errors import DataError

__all__ = ["check_shape"]


def check_shape(frame: pd.DataFrame, text: str) -> pd.DataFrame:
    """Returns the frame with a fresh index, or refuses it.

    Raises:
        DataError: No columns, a name twice, or a name that is not text.
    """
    if not len(frame.columns):
        raise DataError(f"{text} has no columns.", hint="A table needs a first line with column names.")
    for name in frame.columns.tolist():
        if not str(name).strip() or type(name) is not str:
            raise DataError(f"{text} has a column named {name!r}.", hint="Column names must be text.")
    twice = [name for name, count in Counter(frame.columns).items() if count > 1]
    if twice:
        raise DataError(f"{text} has the column {twice[0]!r} twice.", hint="Rename or remove one of them.")
    return frame.reset_index(drop=True)
