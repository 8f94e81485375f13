"""A process that scores: it opens one version, and answers one message after the other, line by line.

Messages are JSON lines through a socket. To ``fetch`` (which version) it answers what lies on the disk, to
``probe`` (parts) the output's schema, to ``score`` (a part) first how far it is, then the report. What goes
wrong is answered with ``problem``; the worker goes on.
"""

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from registry import GreenroomError, UnreachableError, read_settings
from serving.target import Target
from serving.wording import locate_error

from .order import COMPILED, Part, ScoreOrder

__all__ = ["OpenOrder", "do", "open_order", "work"]


class OpenOrder:
    """An order whose version is loaded, and whose output is open."""

    def __init__(self, order: ScoreOrder) -> None:
        from .fetching import fetch_model  # noqa: PLC0415 - the ground floor's artifacts
        from .scorer import BatchScorer  # noqa: PLC0415 - heavy
        from .storage import open_output  # noqa: PLC0415 - as above

        self.order = order
        fetched = fetch_model(
            read_settings(),
            order.model,
            order.target,
            trust_author=order.trust_author,
            vouched=order.vouched,
            compiled=order.path == COMPILED,
        )
        self.scorer = BatchScorer(order, Path(fetched.folder), Path(fetched.plan) if fetched.plan else None)
        self.storage = open_output(order.output)


_opened: dict[str, OpenOrder] = {}
"""By the order, results aside: a process of a cluster scores many parts of one job."""


def open_order(text: str) -> OpenOrder:
    """Opens an order once per process; an earlier one is let go."""
    order = ScoreOrder.parse(text)
    key = replace(order, schema="", job="").dump()
    if key not in _opened:
        _opened.clear()
        _opened[key] = OpenOrder(order)
    opened = _opened[key]
    opened.order = order
    return opened


def work(line: socket.socket) -> None:
    """Answers until the other end hangs up."""
    with line.makefile("rb") as messages:
        for message in messages:
            for answer in _answer(json.loads(message), line):
                _send(line, answer)


def _send(line: socket.socket, answer: Mapping[str, Any]) -> None:
    line.sendall(json.dumps(answer).encode() + b"\n")


def _answer(message: Mapping[str, Any], line: socket.socket) -> Iterator[Mapping[str, Any]]:
    try:
        yield {"done": do(message, lambda rows: _send(line, {"rows": rows}))}
    except GreenroomError as error:
        yield {"problem": {"code": error.code, "what": error.what, "hint": error.hint}}
    except Exception as error:  # noqa: BLE001 - this process's run border
        what = f"Scoring failed: {locate_error(error)}."
        yield {"problem": {"code": GreenroomError.code, "what": what, "hint": ""}}


def do(message: Mapping[str, Any], tell: Callable[[int], None]) -> Any:
    """Does what a message asks for, in this process.

    Args:
        message: See the module.
        tell: Told how many rows of a part are read.

    Raises:
        GreenroomError: Why it cannot be done.
    """
    match message["op"]:
        case "fetch":
            return _fetch(message)
        case "probe":
            return _probe(message)
        case "score":
            return _score(message, tell)
    raise UnreachableError(f"A worker of another version does not know {message['op']!r}.")


def _fetch(message: Mapping[str, Any]) -> Any:
    from .fetching import fetch_model  # noqa: PLC0415 - the ground floor's artifacts

    target = Target(**message["target"])
    options = {name: message[name] for name in ("trust_author", "vouched", "compiled")}
    return asdict(fetch_model(read_settings(), message["model"], target, **options))


def _probe(message: Mapping[str, Any]) -> str:
    from .parts import find_schema  # noqa: PLC0415 - heavy

    opened = open_order(message["order"])
    return find_schema(opened.order, opened.scorer, map(Part.parse, message["parts"]))


def _score(message: Mapping[str, Any], tell: Callable[[int], None]) -> Any:
    from .parts import score_part  # noqa: PLC0415 - heavy

    opened, part = open_order(message["order"]), Part.parse(message["part"])
    return asdict(score_part(opened.order, opened.scorer, part, opened.storage, tell))
