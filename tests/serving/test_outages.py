"""What is around the server goes away: database, S3, a download in the middle. Who asks does not notice."""

import random
from contextlib import ExitStack
from pathlib import Path

import pytest

from registry.server import Server, start_server
from tests.fixtures.postgres import running_postgres
from tests.fixtures.reverse_proxy import Reply, Seen, StartProxy
from tests.fixtures.s3 import running_s3
from tests.serving.scoring_servers import ask, predict, serve_model, set_alias, wait_until
from tests.serving.test_faults import hammering, log_lines


def test_s3_and_then_the_database_stop_and_nobody_who_asks_notices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as both:
        files, tables = both.enter_context(ExitStack()), both.enter_context(ExitStack())
        s3 = files.enter_context(running_s3())
        for name, value in s3.environment.items():
            monkeypatch.setenv(name, value)
        postgres = tables.enter_context(running_postgres(tmp_path))
        mlflow = both.enter_context(
            start_server(
                backend_store_uri=postgres.create_database(),
                artifacts=f"s3://{s3.bucket}/outage",
                folder=tmp_path,
                log=tmp_path / "log",
            )
        )
        log_lines(mlflow.uri, "m", [1.0, 2.0])
        set_alias(mlflow.uri, "m", "1")
        server = both.enter_context(serve_model("m", mlflow.uri, tmp_path / "serving", "--workers", "2"))
        with hammering(server.port, clients=2) as hammer:
            files.close()
            set_alias(mlflow.uri, "m", "2")
            wait_until(lambda: server.info()["degraded"], 90)
            assert server.info()["version"] == "1"
            tables.close()
            wait_until(lambda: "cannot be looked at" in str(server.info()["problems"]), 90)
            assert 'greenroom_degraded{model="m"} 1.0' in ask(server.port, "GET", "/metrics").body.decode()
        assert (hammer.broken, hammer.unavailable, hammer.odd) == (0, 0, [])
        assert hammer.seen == {("1", 1.0)}


def test_a_download_that_is_cut_anywhere_is_tried_again_while_the_old_version_serves(
    mlflow_server: Server, start_proxy: StartProxy, tmp_path: Path, model_name: str
) -> None:
    chance, cuts = random.Random(7), list(range(12))

    def cut(seen: Seen) -> Reply | None:
        if not seen.path.endswith("model.skops") or not cuts:
            return None
        cuts.pop()
        return Reply(cut_at=chance.randrange(2_000))

    log_lines(mlflow_server.uri, model_name, [1.0, 2.0])
    set_alias(mlflow_server.uri, model_name, "1")
    proxy = start_proxy(lambda seen: cut(seen) if started else None, upstream=mlflow_server.uri)
    started: list[bool] = []
    with serve_model(model_name, proxy.uri, tmp_path, "--workers", "2") as server:
        with hammering(server.port, clients=2) as hammer:
            started.append(True)
            set_alias(mlflow_server.uri, model_name, "2")
            wait_until(lambda: server.info()["version"] == "2", 120)
        assert predict(server.port).document == {"predictions": [2.0]}
        assert (hammer.broken, hammer.unavailable, hammer.odd) == (0, 0, [])
        assert hammer.seen == {("1", 1.0), ("2", 2.0)}
        assert cuts == []
        partial = [path for path in (tmp_path / "cache").rglob("model.skops") if path.stat().st_size < 1_000]
        assert partial == []
