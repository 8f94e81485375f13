"""Who may drive a stream, and where it stands: a journal on the tracking server, states as files of its run.

A state is uploaded under a name of its own, then named in the journal by one append: that append is the
commit. It is refused to a trainer whose claim was taken over, so two trainers cannot both go on from
one state.
"""

import json
import os
import secrets
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import psutil

from registry import (
    Clock,
    ConflictError,
    GreenroomError,
    Journal,
    NotFoundError,
    RegistryStore,
    Settings,
    SystemClock,
    UsageError,
    format_time,
    get_host,
    open_store,
    parse_time,
)

from .state import StreamState, read_state, write_state

__all__ = ["Keeper", "Kept", "describe_claim"]

LEASE_S: Final = 60.0
"""After so long without a sign of life a trainer on another machine counts as dead."""
BEAT_S: Final = 10.0
BEAT_TAG: Final = "greenroom.online_alive"
NOTE: Final = (
    "**Where the stream `{stream}` of {model} stands, and who drives it.** Each param is one line, written "
    "once; the states themselves are files of the stream's run."
)


@dataclass(frozen=True, slots=True)
class Kept:
    """The fold of the journal.

    Attributes:
        run_id: The stream's run; empty before there is one.
        job: Digest of what the job says that a state depends on.
        claim: Who drives it, or drove it last; empty: nobody ever did.
        number: The newest snapshot; 0: none yet.
        file: Where its state is, among the run's files.
        sha256: Of that file.
    """

    run_id: str = ""
    job: str = ""
    claim: Mapping[str, Any] | None = None
    number: int = 0
    file: str = ""
    sha256: str = ""


class Keeper:
    """Holds the claim on a stream, and keeps its states.

    Args:
        store: MLflow.
        settings: Where it is: signs of life go over a connection of their own.
        model: The registered model.
        stream: The stream's name.
    """

    def __init__(self, store: RegistryStore, settings: Settings, *, model: str, stream: str) -> None:
        self._store, self._settings = store, settings
        self._what = f"{model}, stream {stream!r}"
        self._journal = Journal(
            store,
            f"{settings.ledger_experiment.format(model=model)}/online/{stream}",
            note=NOTE.format(model=model, stream=stream),
        )
        self._me: dict[str, Any] = {
            "by": secrets.token_hex(8),
            "host": get_host(),
            "pid": os.getpid(),
            "born": psutil.Process().create_time(),
        }
        self._clock: Clock = SystemClock()
        self._stop = threading.Event()
        self._heart: threading.Thread | None = None
        self.kept = self.read()

    def read(self) -> Kept:
        """What the journal says now; writes nothing."""
        page = self._journal.find()
        return _fold(page) if page else Kept()

    def claim(self, job: str, begin_run: Callable[[], str]) -> Self:
        """Takes the stream, or begins it. Leave the context to give it back.

        Args:
            job: Digest of the job.
            begin_run: Makes the stream's run; called only if there is none.

        Raises:
            ConflictError: Another trainer drives it.
            UsageError: It was begun by another job.
        """
        if self.kept.job and self.kept.job != job:
            raise UsageError(
                f"{self._what} was begun by another job (features, model, seed or source differ).",
                hint="To begin again: online.stream = a new name.",
            )
        run_id = self.kept.run_id or begin_run()
        line = {"kind": "claim", **self._me, "time": self._now(), "run": run_id, "job": job}

        def decide(page: Any) -> Mapping[str, Any]:
            kept = _fold(page)
            if kept.run_id and (kept.run_id != run_id or kept.job != job):
                raise ConflictError(
                    f"Another trainer began {self._what} first.", hint="Start this one again."
                )
            if kept.claim and self._is_alive(kept):
                raise ConflictError(
                    f"{self._what} is driven by another trainer ({describe_claim(kept.claim)}).",
                    hint=f"Stop it first; one that vanished is taken over after {LEASE_S:.0f} s.",
                )
            return line

        try:
            self._journal.append(decide, _write_fold)
        except ConflictError:
            if not self.kept.run_id:
                self._store.delete_run(run_id)
            raise
        self.kept = self.read()
        return self

    def __enter__(self) -> Self:
        self._beat()
        self._heart = threading.Thread(target=self._keep_beating, name="sign-of-life", daemon=True)
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._heart is not None:
            self._heart.join(timeout=BEAT_S)
        with suppress(GreenroomError):  # the lease ends by itself
            self._journal.append(self._release, _write_fold)

    def commit(self, state: StreamState) -> None:
        """Keeps a state: from now on the stream goes on from here, whatever happens.

        Raises:
            ConflictError: Another trainer has taken the stream over.
        """
        content, sha256 = write_state(state)
        file = f"state/{state.number:05d}-{sha256[:12]}-{self._me['by'][:6]}.zip"
        with tempfile.TemporaryDirectory(prefix="greenroom-") as folder:
            path = Path(folder) / file
            path.parent.mkdir()
            path.write_bytes(content)
            self._store.upload(self.kept.run_id, folder)
        line = {
            "kind": "snapshot",
            "by": self._me["by"],
            "number": state.number,
            "file": file,
            "sha256": sha256,
            "time": self._now(),
        }

        def decide(page: Any) -> Mapping[str, Any]:
            kept = _fold(page)
            claim = kept.claim or {}
            if claim.get("by") != self._me["by"] or kept.number >= state.number:
                raise ConflictError(
                    f"{self._what} was taken over by another trainer ({describe_claim(claim)}).",
                    hint="What this one learned since its last snapshot is left to the other.",
                )
            return line

        self._journal.append(decide, _write_fold)
        self.kept = self.read()

    def load(self) -> StreamState | None:
        """The newest state; None before the first.

        Raises:
            DataError: The file is not the one that was kept.
            NotFoundError: It is gone.
        """
        if not self.kept.number:
            return None
        with tempfile.TemporaryDirectory(prefix="greenroom-") as folder:
            path = self._store.download_run_file(self.kept.run_id, self.kept.file, folder)
            return read_state(Path(path).read_bytes(), self.kept.sha256)

    def _release(self, page: Any) -> Mapping[str, Any] | None:
        mine = (_fold(page).claim or {}).get("by") == self._me["by"]
        return {"kind": "release", "by": self._me["by"], "time": self._now()} if mine else None

    def _is_alive(self, kept: Kept) -> bool:
        """Whether the claimant may still be at work: on this machine its process tells, else its signs."""
        claim = kept.claim or {}
        if claim.get("released"):
            return False
        if claim.get("host") == self._me["host"]:
            return _is_running(int(claim["pid"]), float(claim["born"]))
        try:
            sign = json.loads(self._store.get_run(kept.run_id).tags.get(BEAT_TAG, "{}"))
        except NotFoundError:
            return False
        last = sign["time"] if sign.get("by") == claim.get("by") else claim["time"]
        return (self._clock.now() - parse_time(last)).total_seconds() < LEASE_S

    def _keep_beating(self) -> None:
        store: RegistryStore | None = None
        while not self._stop.wait(BEAT_S):
            with suppress(GreenroomError):  # the next one may get through
                store = store or open_store(self._settings)
                self._beat(store)

    def _beat(self, store: RegistryStore | None = None) -> None:
        sign = json.dumps({"by": self._me["by"], "time": self._now()})
        (store or self._store).set_run_tag(self.kept.run_id, BEAT_TAG, sign)

    def _now(self) -> str:
        return format_time(self._clock.now())


def describe_claim(claim: Mapping[str, Any]) -> str:
    """Who it is, for people."""
    return f"process {claim.get('pid')} on {claim.get('host')}, since {claim.get('time')}"


def _is_running(pid: int, born: float) -> bool:
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - born) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _fold(page: Any) -> Kept:
    state = dict(page.opening)
    for line in page.lines:
        if line["kind"] == "claim":
            state |= {"run": line["run"], "job": line["job"], "claim": dict(line)}
        elif line["kind"] == "release":
            state["claim"] = {**state.get("claim", {}), "released": True}
        elif line["kind"] == "snapshot":
            state |= {"number": line["number"], "file": line["file"], "sha256": line["sha256"]}
    return Kept(
        run_id=state.get("run", ""),
        job=state.get("job", ""),
        claim=state.get("claim"),
        number=state.get("number", 0),
        file=state.get("file", ""),
        sha256=state.get("sha256", ""),
    )


def _write_fold(page: Any) -> Mapping[str, Any]:
    kept = _fold(page)
    return {
        "run": kept.run_id,
        "job": kept.job,
        "claim": kept.claim,
        "number": kept.number,
        "file": kept.file,
        "sha256": kept.sha256,
    }
