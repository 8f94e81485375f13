"""The server's log: one JSON document a line on stderr, from each of its processes."""

import json
import logging
import sys
import time
from typing import Any, Final

__all__ = ["log_to_stderr"]

CHATTY: Final = ("mlflow.models.utils", "mlflow.pyfunc.scoring_server")
"""Loggers that write a warning per request, with the caller's column names in it."""


class _Formatter(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        document: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "process": self._process,
            "message": record.getMessage(),
        }
        if request_id := getattr(record, "request_id", None):
            document["request_id"] = request_id
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=False)


def log_to_stderr(process: str) -> None:
    """Sets up this process's log.

    Args:
        process: Its name in every line: ``supervisor``, ``worker 0``, ``native`` …
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(process))
    log = logging.getLogger("greenroom.serving")
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
    uvicorn = logging.getLogger("uvicorn")  # it says in plain text that a request was no HTTP
    uvicorn.handlers, uvicorn.propagate = [handler], False
    uvicorn.setLevel(logging.ERROR)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
