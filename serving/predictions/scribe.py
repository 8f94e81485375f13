"""The clerk's thread that writes: frames of raw bytes become files, and whoever handed them over is told."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

import orjson

from registry import GreenroomError, PredictionWriter

from .blocks import read_block
from .intake import Batch, Intake
from .records import BLOCK, COMPILED, FEEDBACK, NATIVE, Record, unpack
from .rows import read_answer, read_body
from .sheet import Sheet
from .tally import UNREADABLE

__all__ = ["Scribe"]

MAX_PAUSE_S: Final = 5.0
"""Between two tries while the sink takes nothing."""
STOP_S: Final = 10.0
"""How long a sink that takes nothing may hold up the end."""
TELL_S: Final = 60.0
PATHS: Final = {COMPILED: "compiled", BLOCK: "compiled", NATIVE: "native"}

_log = logging.getLogger("greenroom.serving")


class Scribe:
    """Writes until the intake is closed and empty; run by a thread.

    Args:
        intake: Where frames wait.
        writer: Writes the log's files.
        redacted: Columns that nobody may keep.
        done: Called after each file, from the thread: there is room again.
    """

    def __init__(
        self,
        intake: Intake,
        writer: PredictionWriter,
        *,
        redacted: Iterable[str],
        done: Callable[[], None],
    ) -> None:
        self._intake = intake
        self._writer = writer
        self._redacted = frozenset(redacted)
        self._done = done
        self._stopping = threading.Event()
        self._give_up_s = float("inf")
        self._told_s = -TELL_S

    def stop(self) -> None:
        """From now on a sink that takes nothing is waited for no longer than a moment."""
        self._give_up_s = time.monotonic() + STOP_S
        self._stopping.set()

    def run(self) -> int:
        """Writes; returns how many records were given up at the end."""
        self._try(self._writer.sweep)
        given_up = 0
        while batches := self._intake.take():
            given_up += self._write(batches)
            self._done()
            self._try(self._writer.merge)
        return given_up

    def _try(self, tidy: Callable[[], None]) -> None:
        """Tidying up may fail: nothing is lost by it."""
        try:
            tidy()
        except GreenroomError as error:
            _log.warning("The prediction log cannot be tidied up: %s", error)

    def _write(self, batches: Sequence[Batch]) -> int:
        sheets: dict[str, Sheet] = {}
        truths: list[tuple[str, Any, int, int]] = []
        counts = [self._read(batch, sheets, truths) for batch in batches]
        parts = [
            part
            for version, sheet in sheets.items()
            for columns in sheet.list_parts()
            for part in self._writer.encode_predictions(version, **columns)
        ]
        if truths:
            ids, values, times_us, arrived_us = zip(*truths, strict=True)
            parts += self._writer.encode_feedback(
                ids=ids, truths=values, times_us=times_us, arrived_us=arrived_us
            )
        for part in parts:
            if not self._insist(partial(self._writer.write, part), batches):
                return sum(batch.records for batch in batches)
        totals: dict[int, Counter[str]] = {}
        for batch, count in zip(batches, counts, strict=True):
            totals.setdefault(id(batch.sender), Counter()).update(count)
        for name, sender in {id(batch.sender): batch.sender for batch in batches}.items():
            count = totals[name]
            lost = {UNREADABLE: count[UNREADABLE]} if count[UNREADABLE] else {}
            sender.settle(count["logged"], count["feedback"], lost, "")
        return 0

    def _read(
        self, batch: Batch, sheets: dict[str, Sheet], truths: list[tuple[str, Any, int, int]]
    ) -> Counter[str]:
        count: Counter[str] = Counter()
        for record in unpack(batch.payload):
            if record.kind == FEEDBACK:
                truth, time_us = orjson.loads(record.body)
                truths.append((record.request_id, truth, time_us, record.time_us))
                count["feedback"] += 1
                continue
            sheet = sheets.get(record.version)
            if sheet is None:
                sheet = sheets[record.version] = Sheet(self._redacted)
            if record.kind == BLOCK:
                count["logged"] += _add_block(sheet, record)
            else:
                count["logged" if _add(sheet, record) else UNREADABLE] += 1
        return count

    def _insist(self, write: Callable[[], None], batches: Sequence[Batch]) -> bool:
        """Tries until it is written; returns False when there is no more time."""
        pause_s = 0.1
        while True:
            try:
                write()
            except GreenroomError as error:
                self._tell(error)
                for sender in {id(batch.sender): batch.sender for batch in batches}.values():
                    sender.settle(0, 0, {}, str(error))
            else:
                return True
            if time.monotonic() >= self._give_up_s:
                return False
            if self._stopping.is_set():
                time.sleep(min(pause_s, 0.5))
            else:
                self._stopping.wait(pause_s)
            pause_s = min(pause_s * 2, MAX_PAUSE_S)

    def _tell(self, error: GreenroomError) -> None:
        if time.monotonic() - self._told_s >= TELL_S:
            self._told_s = time.monotonic()
            _log.error("Predictions wait, because their log cannot be written: %s", error)


def _add(sheet: Sheet, record: Record) -> bool:
    """One request; False if its answer cannot be read."""
    try:
        outputs = read_answer(record.answer)
    except ValueError:
        return False
    inputs = read_body(record.content_type, record.body)
    sheet.add(record.request_id, record.time_us, PATHS[record.kind], inputs, outputs)
    return True


def _add_block(sheet: Sheet, record: Record) -> int:
    """Many requests; returns how many."""
    block = read_block(record.body, record.answer)
    sheet.add_block(block, PATHS[record.kind])
    return len(block.ids)
