"""Artifacts come whole or not at all, stay in their folder, and come from S3 too."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from registry.errors import AccessDeniedError, ArtifactError, GreenroomError, UnreachableError
from registry.server import Server
from registry.store import ModelVersion, RegistryStore
from registry.stores.client import ClientStore
from registry.stores.files import LocalFiles, check_path, check_sizes, find_local_folder
from registry.stores.memory import MemoryStore
from registry.stores.proxied_files import find_proxied_path
from registry.stores.rest import RestStore
from registry.testing.artifact_contract import ArtifactContract
from registry.testing.seeds import MlflowSeed, Seed
from tests.fixtures.reverse_proxy import Reply, Seen, StartProxy
from tests.fixtures.s3 import S3Server

# S3 behind the server, PostgreSQL beside it: the real stores by two URIs


class TestRestStoreWithS3BehindTheServer(ArtifactContract):
    @pytest.fixture
    def store(self, mlflow_server_s3: Server) -> RegistryStore:
        return RestStore(mlflow_server_s3.uri)

    @pytest.fixture
    def seed(self, mlflow_server_s3: Server) -> Seed:
        return MlflowSeed(MlflowClient(mlflow_server_s3.uri, mlflow_server_s3.uri))


@pytest.fixture
def s3_version(
    s3_server: S3Server, mlflow_server: Server, model_name: str, monkeypatch: pytest.MonkeyPatch
) -> ModelVersion:
    """A version whose source is S3 itself."""
    for key, value in s3_server.environment.items():
        monkeypatch.setenv(key, value)
    prefix = f"direct/{model_name}"
    s3_server.connect().put_object(Bucket=s3_server.bucket, Key=f"{prefix}/MLmodel", Body=b"1")
    s3_server.connect().put_object(Bucket=s3_server.bucket, Key=f"{prefix}/data/x", Body=b"22")
    client = MlflowClient(mlflow_server.uri, mlflow_server.uri)
    client.create_registered_model(model_name)
    client.create_model_version(model_name, f"s3://{s3_server.bucket}/{prefix}")
    return RestStore(mlflow_server.uri).get_version(model_name, "1")


@pytest.fixture(params=[RestStore, ClientStore])
def store(request: pytest.FixtureRequest, mlflow_server: Server) -> RegistryStore:
    door: type[RestStore | ClientStore] = request.param
    return door(mlflow_server.uri)


def test_a_version_that_lies_in_s3_is_read_from_there(
    store: RegistryStore, s3_version: ModelVersion, tmp_path: Path
) -> None:
    assert dict(store.list_files(s3_version)) == {"MLmodel": 1, "data/x": 2}
    store.download(s3_version, str(tmp_path))
    assert (tmp_path / "data" / "x").read_bytes() == b"22"


@pytest.mark.parametrize("door", ["rest.RestStore", "client.ClientStore"])
def test_a_wrong_s3_secret_is_denied_in_one_line(
    door: str, mlflow_server: Server, s3_version: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own: boto3 and MLflow keep the first secret they saw."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "guessed")
    module, _, name = door.partition(".")
    code = f"""
from registry import AccessDeniedError
from registry.stores.{module} import {name}
store = {name}({mlflow_server.uri!r})
try:
    store.list_files(store.get_version({s3_version.name!r}, "1"))
except AccessDeniedError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "SignatureDoesNotMatch" in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_an_s3_server_that_is_down_is_unreachable(
    store: RegistryStore,
    s3_version: ModelVersion,
    free_port: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", f"http://127.0.0.1:{free_port}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(UnreachableError):
        store.download(s3_version, str(tmp_path))


# accidents on the way


VERSION = {"name": "m", "version": "1", "source": "mlflow-artifacts:/1/r/artifacts/model"}
LISTING = {"files": [{"path": "MLmodel", "file_size": 5}, {"path": "weights", "file_size": 6}]}


def _answer(seen: Seen, listing: object = LISTING) -> Reply:
    if "get-download-uri" in seen.path:
        return Reply(body=json.dumps({"artifact_uri": VERSION["source"]}).encode())
    if "artifacts?path=" in seen.path:
        return Reply(body=json.dumps(listing).encode())
    return Reply(body=b"12345" if seen.path.endswith("MLmodel") else b"123456")


def _open(uri: str) -> tuple[RestStore, ModelVersion]:
    return RestStore(uri, timeout_s=2.0), ModelVersion("m", "1", source=VERSION["source"])


def test_a_download_that_is_cut_is_tried_again(start_proxy: StartProxy, tmp_path: Path) -> None:
    upstream = start_proxy(_answer)
    cuts = iter([Reply(cut_at=3), None])
    proxy = start_proxy(
        lambda seen: next(cuts) if seen.path.endswith("weights") else None, upstream=upstream.uri
    )
    store, version = _open(proxy.uri)
    store.download(version, str(tmp_path))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {
        "MLmodel": b"12345",
        "weights": b"123456",
    }


def test_a_download_that_is_cut_for_good_leaves_no_partial_file(
    start_proxy: StartProxy, tmp_path: Path
) -> None:
    upstream = start_proxy(_answer)
    proxy = start_proxy(
        lambda seen: Reply(cut_at=3) if seen.path.endswith("weights") else None, upstream=upstream.uri
    )
    store, version = _open(proxy.uri)
    with pytest.raises(UnreachableError, match="cut in the middle"):
        store.download(version, str(tmp_path))
    assert [file.name for file in tmp_path.iterdir()] == ["MLmodel"]


def test_a_file_of_another_size_than_listed_is_refused_and_not_left(
    start_proxy: StartProxy, tmp_path: Path
) -> None:
    listing = {"files": [{"path": "weights", "file_size": 7}]}
    store, version = _open(start_proxy(lambda seen: _answer(seen, listing)).uri)
    with pytest.raises(ArtifactError, match="6 of 7 bytes"):
        store.download(version, str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["../../etc/cron.d/x", "/etc/passwd", "..", "a/../../b", "a\\b", "a\x00b"])
def test_a_path_that_would_leave_the_folder_is_refused_before_anything_is_written(
    start_proxy: StartProxy, tmp_path: Path, path: str
) -> None:
    listing = {"files": [{"path": path, "file_size": 6}]}
    store, version = _open(start_proxy(lambda seen: _answer(seen, listing)).uri)
    folder = tmp_path / "deep" / "folder"
    folder.mkdir(parents=True)
    with pytest.raises(ArtifactError, match="unsafe path"):
        store.download(version, str(folder))
    assert list(folder.iterdir()) == []


def test_an_upload_sends_every_file_under_its_own_path(start_proxy: StartProxy, tmp_path: Path) -> None:
    run = {"run": {"info": {"run_id": "r", "artifact_uri": "mlflow-artifacts:/1/r/artifacts"}}}
    proxy = start_proxy(lambda seen: Reply(body=json.dumps(run if seen.method == "GET" else {}).encode()))
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "ROC curve.png").write_bytes(b"png")
    RestStore(proxy.uri).upload("r", str(tmp_path))
    assert [(seen.method, seen.path) for seen in proxy.seen][1:] == [
        ("PUT", "/api/2.0/mlflow-artifacts/artifacts/1/r/artifacts/plots/ROC%20curve.png")
    ]


# the local place


def test_files_that_came_are_held_against_the_list(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12")
    check_sizes(tmp_path, {"a": 2})
    with pytest.raises(ArtifactError, match="2 of 3 bytes"):
        check_sizes(tmp_path, {"a": 3})
    with pytest.raises(ArtifactError, match="0 of 3 bytes"):
        check_sizes(tmp_path, {"b": 3})


@pytest.mark.parametrize(
    ("uri", "folder"),
    [
        ("file:///models/a%20b", Path("/models/a b")),
        ("/models/a b", Path("/models/a b")),
        ("mlruns/0", Path("mlruns/0")),
        ("s3://bucket/a", None),
        ("file://otherhost/models", None),
        ("mlflow-artifacts:/1", None),
    ],
)
def test_an_address_is_a_folder_of_this_machine_or_not(uri: str, folder: Path | None) -> None:
    assert find_local_folder(uri) == folder


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("mlflow-artifacts:/1/models/m-1/artifacts", "1/models/m-1/artifacts"),
        ("mlflow-artifacts:/1/a%20b/", "1/a b"),
        ("mlflow-artifacts://other:5000/1", None),
        ("s3://bucket/1", None),
    ],
)
def test_an_address_is_proxied_by_the_tracking_server_or_not(uri: str, path: str | None) -> None:
    assert find_proxied_path(uri) == path


def test_a_place_that_cannot_be_written_to_is_denied(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "source").mkdir()
    with pytest.raises(AccessDeniedError, match="Cannot write artifacts"):
        LocalFiles(tmp_path / "file").send_all(tmp_path / "source")


def test_a_safe_path_is_returned_as_it_is() -> None:
    assert check_path("data/deep/model.skops") == "data/deep/model.skops"


def test_the_store_in_memory_says_when_it_has_no_place_for_artifacts() -> None:
    store = MemoryStore()
    run = store.create_run(store.create_experiment("e", {}), "r", {})
    with pytest.raises(GreenroomError, match="in memory"):
        store.upload(run.run_id, os.curdir)
