"""The native process: MLflow's own scoring code, apart from those who speak HTTP.

Workers reach it over a Unix socket and name the version they want by its manifest. Whatever a model does in
here, it cannot stall a worker, and its end harms the requests inside it only.
"""

import asyncio
import logging
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from registry import GreenroomError

from .channel import open_peer
from .errors import LostProcessError
from .frames import read_frame, write_frame
from .inference import Inference
from .live import parse_model
from .scoring import NativeScorer
from .settings import ServeSettings
from .statuses import UNEXPECTED, ErrorAnswer, describe_error
from .wording import locate_error, word_load_failure

__all__ = ["NativeHost", "run_native"]

_log = logging.getLogger("greenroom.serving")


class NativeHost:
    """Holds loaded models and answers for them.

    Args:
        settings: Limits.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._inference = Inference(
            threads=settings.threads, max_waiting=settings.max_waiting, timeout_s=settings.timeout_s
        )
        self._models: dict[str, asyncio.Future[NativeScorer]] = {}

    @property
    def loaded(self) -> list[str]:
        """Manifests of what is loaded or being loaded."""
        return list(self._models)

    async def warm(self, manifest: str, folder: Path) -> None:
        """Loads a model beside the others and lets it answer its own example. Idempotent.

        Raises:
            ArtifactError: It does not load.
        """
        if manifest not in self._models:
            loading = asyncio.ensure_future(asyncio.to_thread(_load, folder))
            self._models[manifest] = loading
        try:
            await asyncio.shield(self._models[manifest])
        except BaseException:
            self._models.pop(manifest, None)
            raise

    def keep(self, manifests: list[str]) -> None:
        """Drops all other models; requests inside them finish."""
        for manifest in self._models.keys() - set(manifests):
            del self._models[manifest]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one worker until it hangs up."""
        tasks: set[asyncio.Task[None]] = set()
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head, body = await read_frame(reader)
                task = asyncio.ensure_future(self._answer(head, body, writer))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        writer.close()

    def close(self) -> None:
        """Takes no more work."""
        self._inference.close()

    async def _answer(self, head: Mapping[str, Any], body: bytes, writer: asyncio.StreamWriter) -> None:
        try:
            loading = self._models.get(head["manifest"])
            if loading is None:
                raise LostProcessError  # noqa: TRY301 - it was held by a process before this one
            scored = await self._inference.score(await asyncio.shield(loading), body, head["content_type"])
        except GreenroomError as error:
            answer: ErrorAnswer = describe_error(error)
        except Exception as error:  # noqa: BLE001 - the request border, continued in another process
            _log.error(
                "A request failed: %s", locate_error(error), extra={"request_id": head.get("request_id")}
            )
            answer = UNEXPECTED
        else:
            write_frame(writer, {"number": head["number"], "media_type": scored.media_type}, scored.body)
            return
        error_head = {
            "status": answer.status,
            "error_code": answer.error_code,
            "message": answer.message,
            "headers": dict(answer.headers),
        }
        write_frame(writer, {"number": head["number"], "error": error_head})


def _load(folder: Path) -> NativeScorer:
    with word_load_failure():
        scorer = NativeScorer.load(folder)
        scorer.warm_up()
    return scorer


async def run_native(control: socket.socket, listener: socket.socket, settings: ServeSettings) -> None:
    """Serves until the supervisor hangs up.

    Args:
        control: The channel to the supervisor.
        listener: Where workers knock; bound by the supervisor.
        settings: Limits.
    """
    host = NativeHost(settings)
    opened = asyncio.Event()

    async def obey(message: Mapping[str, Any]) -> Mapping[str, Any]:
        match message["op"]:
            case "warm":
                model = parse_model(message["model"])
                try:
                    await host.warm(model.manifest, Path(model.artifact))
                except GreenroomError as error:
                    return {"problem": str(error)}
            case "keep":
                host.keep(message["manifests"])
            case "open":
                opened.set()
        return {}

    peer = await open_peer(control, obey)
    listening = asyncio.ensure_future(peer.run())
    waiting = asyncio.ensure_future(opened.wait())
    await asyncio.wait({listening, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if opened.is_set():
        server = await asyncio.start_unix_server(host.serve, sock=listener)
        await listening
        server.close()
    waiting.cancel()
    host.close()
