"""HTTP to an MLflow server, with the standard library alone: credentials, TLS, patience, one error map.

A call that may be repeated is, a bounded number of times and within its time; one that may not is repeated
only where the server cannot have acted on it (connection refused, 429, 503).
"""

import base64
import http.client
import json
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urlencode, urlsplit

from registry.environment import Access
from registry.errors import AccessDeniedError, GreenroomError, StoreError, UnreachableError

from .address import parse_address
from .mapping import classify

__all__ = ["Call", "HttpDoor"]

ATTEMPTS: Final = 3
BACKOFF_S: Final = 0.2
"""First wait between attempts; each next one is three times as long."""

IDLE_S: Final = 4.0
"""Uvicorn, under MLflow's server, closes a connection that was idle for 5 s: use none older than this."""

CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Attributes:
        method: HTTP method.
        path: Below the server's address, e.g. ``/api/2.0/mlflow/runs/get``.
        deed: What it does, to complete "MLflow refused to …".
        query: Parameters of the address.
        body: JSON document to send.
        file: File to send instead.
        patience_s: How long the answer may take, if longer than the door's own timeout.
        is_repeatable: True if doing it twice is the same as doing it once.
    """

    method: str
    path: str
    deed: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    file: Path | None = None
    patience_s: float = 0.0
    is_repeatable: bool = True


class _Failed(Exception):  # noqa: N818 - never leaves this module
    """An attempt that failed in a way that may pass. ``is_unsent``: the server cannot have acted on it."""

    def __init__(self, error: GreenroomError, *, is_unsent: bool, wait_s: float = 0.0) -> None:
        self.error = error
        self.is_unsent = is_unsent
        self.wait_s = wait_s
        super().__init__(str(error))


class HttpDoor:
    """An MLflow server's address, and how to get in. Threads may share it."""

    def __init__(
        self, uri: str, access: Access, timeout_s: float, *, variable: str = "MLFLOW_TRACKING_URI"
    ) -> None:
        address = parse_address(uri)
        parts = urlsplit(address.text)
        self.uri = address.text
        self._variable = variable
        self._base = parts.path
        self._timeout_s = timeout_s
        self._username = address.username or access.username
        self._headers = {"Accept": "application/json", "User-Agent": "greenroom"}
        self._headers |= _build_authorization(
            self._username, address.password or access.password, access.token
        )
        self._pool = _Pool(parts.scheme, parts.hostname or "", parts.port, access)

    @property
    def username(self) -> str | None:
        """The user whose password is sent; None without one."""
        return self._username if "Authorization" in self._headers else None

    def close(self) -> None:
        """Closes idle connections; the door opens again when used."""
        self._pool.clear()

    def ask(self, call: Call) -> dict[str, Any]:
        """Sends the call, returns the JSON document of the answer.

        Raises:
            GreenroomError: One of the tree in ``registry.store``.
        """
        text = self.read(call)
        try:
            document = json.loads(text)
        except ValueError as error:
            raise self._word_stranger(call) from error
        if not isinstance(document, dict):
            raise self._word_stranger(call)
        return document

    def read(self, call: Call) -> bytes:
        """Sends the call, returns the answer's body.

        Raises:
            GreenroomError: One of the tree in ``registry.store``.
        """
        deadline = time.monotonic() + max(self._timeout_s, call.patience_s)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._attempt(call, deadline - time.monotonic())
            except _Failed as failure:
                wait_s = max(failure.wait_s, BACKOFF_S * 3 ** (attempt - 1))
                is_late = time.monotonic() + wait_s >= deadline
                if attempt == ATTEMPTS or is_late or not (call.is_repeatable or failure.is_unsent):
                    raise failure.error from failure.__cause__
                time.sleep(wait_s)
        raise AssertionError  # the last attempt raised

    def copy(self, call: Call, sink: IO[bytes]) -> int:
        """Sends the call once and copies the answer's body; returns its length in bytes.

        The timeout holds for every read of the socket here, not for the whole.

        Raises:
            GreenroomError: One of the tree in ``registry.store``; UnreachableError too if the connection was
                cut before the end.
        """
        try:
            with self._answering(call, max(self._timeout_s, call.patience_s)) as response:
                expected, length = response.length, 0
                while chunk := response.read(CHUNK_BYTES):
                    length += _write(sink, chunk)
        except _Failed as failure:
            raise failure.error from failure.__cause__
        if expected is not None and length != expected:  # http.client is silent about this
            raise UnreachableError(f"The connection to {self.uri} was cut in the middle ({call.deed}).")
        return length

    def _attempt(self, call: Call, remaining_s: float) -> bytes:
        with self._answering(call, max(remaining_s, 0.05)) as response:
            return response.read()

    @contextmanager
    def _answering(self, call: Call, timeout_s: float) -> Iterator[http.client.HTTPResponse]:
        """Sends the call and hands out an answer that says yes.

        Raises:
            GreenroomError: It says no for good.
            _Failed: It says no for now, or there is none.
        """
        connection = self._pool.take(timeout_s, is_fresh=not call.is_repeatable)
        response = None
        try:
            response = self._send(connection, call)
            self._check_status(call, response)
            yield response
        except (OSError, http.client.HTTPException) as error:
            self._pool.clear()  # the others are as stale
            raise self._word_silence(error) from error
        finally:
            if response is not None and response.isclosed():
                self._pool.give(connection)  # read to the end
            else:
                connection.close()

    def _send(self, connection: http.client.HTTPConnection, call: Call) -> http.client.HTTPResponse:
        if connection.sock is None:
            try:
                connection.connect()
            except OSError as error:
                raise _Failed(self._word_silence(error).error, is_unsent=True) from error
        target = self._base + call.path + (f"?{urlencode(call.query)}" if call.query else "")
        if call.file is not None:
            headers = self._headers | {"Content-Length": str(call.file.stat().st_size)}
            with call.file.open("rb") as source:
                connection.request(call.method, target, body=source, headers=headers)
        elif call.body is not None:
            headers = self._headers | {"Content-Type": "application/json"}
            connection.request(call.method, target, body=json.dumps(call.body).encode(), headers=headers)
        else:
            connection.request(call.method, target, headers=self._headers)
        return connection.getresponse()

    def _check_status(self, call: Call, response: http.client.HTTPResponse) -> None:
        status = response.status
        if status < http.HTTPStatus.MULTIPLE_CHOICES:
            return
        wait_s = _parse_wait(response.getheader("Retry-After"))
        location = response.getheader("Location")
        code, message = _parse_refusal(response.read())
        if status < http.HTTPStatus.BAD_REQUEST:
            raise StoreError(
                f"{self.uri} redirects to {location}.",
                hint=f"Set {self._variable} to where the server really is.",
            )
        error = self._word_refusal(call, status, code, message)
        if isinstance(error, UnreachableError):
            is_unsent = status in {http.HTTPStatus.TOO_MANY_REQUESTS, http.HTTPStatus.SERVICE_UNAVAILABLE}
            raise _Failed(error, is_unsent=is_unsent, wait_s=wait_s)
        raise error

    def _word_refusal(self, call: Call, status: int, code: str | None, message: str) -> GreenroomError:
        kind = classify(code, status, message)
        if issubclass(kind, AccessDeniedError):
            return self._word_denial(call, status, message)
        if issubclass(kind, UnreachableError):
            return kind(
                f"MLflow at {self.uri} failed to {call.deed} ({status}: {message}).", hint="Try again."
            )
        if code is None:
            return self._word_stranger(call)
        return kind(f"MLflow refused to {call.deed}: {message}")

    def _word_denial(self, call: Call, status: int, message: str) -> AccessDeniedError:
        if "Host header" in message:
            return AccessDeniedError(
                f"The server at {self.uri} does not answer to that host name (403).",
                hint="Start it with --allowed-hosts, naming this one.",
            )
        if status == http.HTTPStatus.FORBIDDEN:
            who = f"User {self._username}" if self._username else "This user"
            return AccessDeniedError(
                f"{who} may not {call.deed} at {self.uri} (403).",
                hint="Ask for the permission on the server.",
            )
        if "Authorization" not in self._headers:
            return AccessDeniedError(
                f"The server at {self.uri} asks who you are (401).",
                hint="Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.",
            )
        what = f"password of user {self._username}" if self._username else "token in MLFLOW_TRACKING_TOKEN"
        return AccessDeniedError(
            f"The server at {self.uri} does not accept the {what} (401).", hint="Check it."
        )

    def _word_stranger(self, call: Call) -> StoreError:
        return StoreError(
            f"What answers at {self.uri} is no MLflow server, or a page stands before it ({call.path}).",
            hint=f"Check {self._variable}.",
        )

    def _word_silence(self, error: Exception) -> _Failed:
        if isinstance(error, ssl.SSLCertVerificationError):
            raise AccessDeniedError(
                f"The certificate of {self.uri} cannot be trusted ({error.verify_message}).",
                hint="Name its authority in MLFLOW_TRACKING_SERVER_CERT_PATH.",
            ) from error
        if isinstance(error, ssl.SSLError):
            raise StoreError(
                f"No TLS with {self.uri} ({error.reason or error}).",
                hint="Is it http:// perhaps, not https://?",
            ) from error
        reason = str(getattr(error, "strerror", None) or error) or type(error).__name__
        return _Failed(
            UnreachableError(
                f"No answer from MLflow at {self.uri} ({reason}).",
                hint=f"Is the server running? Check {self._variable}.",
            ),
            is_unsent=isinstance(error, ConnectionRefusedError),
        )


class _Pool:
    """Connections to one server that are kept open between calls."""

    def __init__(self, scheme: str, host: str, port: int | None, access: Access) -> None:
        self._idle: list[tuple[float, http.client.HTTPConnection]] = []
        self._host = host
        self._port = port
        self._context = _build_tls(access) if scheme == "https" else None
        self._lock = threading.Lock()

    def __del__(self) -> None:
        """A store that nobody closed leaves no socket behind."""
        for _, connection in self._idle:
            connection.close()

    def take(self, timeout_s: float, *, is_fresh: bool) -> http.client.HTTPConnection:
        """One that is open and was used a moment ago, or a new one."""
        while not is_fresh:
            with self._lock:
                if not self._idle:
                    break
                since, connection = self._idle.pop()
            if connection.sock is not None and time.monotonic() - since < IDLE_S:
                connection.timeout = timeout_s
                connection.sock.settimeout(timeout_s)
                return connection
            connection.close()
        if self._context is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        return http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=self._context)

    def give(self, connection: http.client.HTTPConnection) -> None:
        """Takes one back whose last answer was read to the end."""
        if connection.sock is not None:  # the server did not ask to close it
            with self._lock:
                self._idle.append((time.monotonic(), connection))

    def clear(self) -> None:
        """Closes what is kept."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()


def _write(sink: IO[bytes], chunk: bytes) -> int:
    try:
        return sink.write(chunk)
    except OSError as error:  # not the network's
        raise StoreError(f"Cannot write a downloaded file: {error.strerror or error}.") from error


def _build_tls(access: Access) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=access.server_cert_file)
        if access.client_cert_file:
            context.load_cert_chain(access.client_cert_file)
    except OSError as error:
        raise AccessDeniedError(
            f"A certificate cannot be read: {error.strerror or error}.",
            hint="Check MLFLOW_TRACKING_SERVER_CERT_PATH and MLFLOW_TRACKING_CLIENT_CERT_PATH.",
        ) from error
    if not access.is_tls_checked:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _build_authorization(username: str | None, password: str | None, token: str | None) -> dict[str, str]:
    """MLflow's order: user and password first, else the token."""
    if username and password is not None:
        secret = base64.b64encode(f"{username}:{password}".encode()).decode("ascii")
        return {"Authorization": f"Basic {secret}"}
    return {"Authorization": f"Bearer {token}"} if token else {}


def _parse_refusal(body: bytes) -> tuple[str | None, str]:
    """Error code and message of an answer that says no; no code if it is not MLflow's."""
    with suppress(ValueError):
        document = json.loads(body)
        if isinstance(document, dict) and "error_code" in document:
            return str(document["error_code"]), str(document.get("message", "")).strip()
    lines = body.decode("utf-8", "replace").strip().splitlines()
    return None, lines[0][:200] if lines else ""


def _parse_wait(text: str | None) -> float:
    return float(text) if text and text.isdigit() else 0.0
