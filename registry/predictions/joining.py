"""Which truth belongs to which prediction.

The rule: a truth belongs to every prediction with its id. Of several truths for one id, the one with the
latest time counts; at equal times, the one that arrived last. A truth with the id ``X/0`` also belongs to a
prediction ``X``: a request of one row. A truth whose id nobody predicted is kept and joined to nothing, until
its prediction turns up.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FIRST_ROW", "join_truth"]

FIRST_ROW = "/0"


def join_truth(ids: "pd.Series[str]", feedback: "pd.DataFrame") -> "pd.DataFrame":
    """What is known about predictions.

    Args:
        ids: Of the predictions; may repeat.
        feedback: Columns ``id``, ``truth``, ``time``, ``arrived``, rows in the order in which they were
            written; ids may repeat and may be of no prediction.

    Returns:
        ``truth`` and ``truth_time``, one row for each of ``ids``, with the same index.
    """
    import pandas as pd  # noqa: PLC0415 - heavy, and not for those who only write

    predicted = ids.astype(object)
    present = set(predicted)  # pandas' own search among texts takes 15 times as long
    named = feedback.assign(id=[_name_prediction(one, present) for one in feedback["id"]])
    newest = named.sort_values(["time", "arrived"], kind="stable").drop_duplicates("id", keep="last")
    places = pd.Index(newest["id"], dtype=object).get_indexer(pd.Index(predicted))
    found = newest[["truth", "time"]].reset_index(drop=True).reindex(places)
    found.index = ids.index
    return found.rename(columns={"time": "truth_time"})


def _name_prediction(told: str, present: Collection[str]) -> str:
    """The prediction that is meant: the first of one may be told by its row or without."""
    alone = told.removesuffix(FIRST_ROW)
    return alone if told not in present and alone in present else told
