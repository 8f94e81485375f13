"""The folder that an image is built from: whole or not there, valid, and enough to serve from."""

import base64
import hashlib
import importlib.metadata
import json
import subprocess
import sys
import sysconfig
import warnings
import zipfile
from pathlib import Path

import kubernetes_validate
import mlflow
import pandas as pd
import pytest
import yaml
from compose_spec.models import ComposeSpecification
from sklearn.linear_model import LinearRegression

from registry import (
    MemoryStore,
    NotFoundError,
    TamperedError,
    UntrustedError,
    UsageError,
    compute_manifest,
)
from registry.ledger.entry import Draft
from registry.ledger.ledger import Actor, Ledger, new_nonce
from registry.promotion import commit
from serving.packaging.packing import Order, Package, pack
from serving.packaging.requirements import lock_requirements
from tests.serving.scoring_servers import Reply, ask, serve_model

TEMPLATE = "greenroom/{model}"
MODEL = "Flight Delay"
TABLE = pd.DataFrame({"x": [0.0, 1.0]})


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logged") / "model"
    model = LinearRegression().fit(TABLE, [1.0, 3.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's hints
        mlflow.sklearn.save_model(model, folder, input_example=TABLE, pip_requirements=["scikit-learn"])
    return folder


@pytest.fixture
def store(artifact: Path) -> MemoryStore:
    made = MemoryStore()
    made.add_model(MODEL)
    made.add_version(MODEL, str(artifact))
    made.set_alias(MODEL, "production", "1")
    return made


@pytest.fixture(scope="module")
def packed(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One packaged version, for all who only look."""
    made = MemoryStore()
    made.add_model(MODEL)
    made.add_version(MODEL, str(artifact))
    made.set_alias(MODEL, "production", "1")
    folder = tmp_path_factory.mktemp("packed") / "image"
    pack(made, Order(MODEL, "production", folder), template=TEMPLATE)
    return folder


def read_entrypoint(folder: Path) -> list[str]:
    (line,) = [
        line for line in (folder / "Dockerfile").read_text().splitlines() if line.startswith("ENTRYPOINT ")
    ]
    command: list[str] = json.loads(line.removeprefix("ENTRYPOINT "))
    return command


def test_the_packaged_server_answers_from_its_own_files_where_there_is_no_registry(
    packed: Path, tmp_path: Path
) -> None:
    """What the Dockerfile does, in an environment of its own: only other people's packages are borrowed."""
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    python = environment / "bin" / "python"
    (wheel,) = (packed / "wheels").iterdir()
    install = ["install", "--quiet", "--no-cache-dir", "--no-deps", "--no-index", str(wheel)]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    subprocess.run([*pip, *install], check=True)
    found = subprocess.run(
        [python, "-c", "import serving; print(serving.__file__)"], capture_output=True, text=True, check=True
    )
    assert found.stdout.startswith(str(site))
    script, name, option, place, *_ = read_entrypoint(packed)
    assert (script, name, option, place) == ("serve-model", MODEL, "--from", "/srv/version")
    reply, info = serve_from(environment / "bin" / script, packed / "version", tmp_path)
    assert reply.document == {"predictions": [3.0]}
    assert reply.headers["x-model-version"] == "1"
    assert (info["model"], info["degraded"], info["engine"]) == (MODEL, False, "compiled")


def serve_from(script: Path, version: Path, folder: Path) -> tuple[Reply, dict[str, object]]:
    nowhere = "http://127.0.0.1:9"
    env = {"MLFLOW_REGISTRY_URI": nowhere}
    with serve_model(
        MODEL, nowhere, folder / "run", "--from", str(version), "--workers", "1", env=env, script=script
    ) as server:
        body = json.dumps({"dataframe_records": [{"x": 1.0}]}).encode()
        assert ask(server.port, "GET", "/ready").status == 200
        headers = {"content-type": "application/json"}
        return ask(server.port, "POST", "/invocations", body, headers), server.info()


def test_the_dockerfile_has_nothing_that_a_linter_would_say(packed: Path) -> None:
    linter = Path(sys.executable).with_name("hadolint")
    said = subprocess.run([linter, packed / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, "")


def test_the_manifests_are_what_kubernetes_takes(packed: Path) -> None:
    documents = list(yaml.safe_load_all((packed / "kubernetes.yaml").read_text()))
    assert [one["kind"] for one in documents] == ["Deployment", "Service", "PodDisruptionBudget"]
    for document in documents:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    container = documents[0]["spec"]["template"]["spec"]["containers"][0]
    assert {container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness")} == {"/ready"}


def test_the_compose_file_is_what_compose_takes(packed: Path) -> None:
    document = yaml.safe_load((packed / "compose.yaml").read_text())
    ComposeSpecification.model_validate(document)
    assert set(document["services"]) == {"postgres", "files", "bucket", "tracking", "scoring"}


def test_locked_packages_are_those_installed_here_and_no_address_is_named(packed: Path) -> None:
    lines = (packed / "requirements.lock").read_text().split()
    names = dict(line.split("==") for line in lines)
    assert {"mlflow", "scikit-learn", "uvicorn", "onnxruntime"} <= names.keys()
    assert "greenroom" not in names
    assert names == {name: importlib.metadata.version(name) for name in names}
    assert not [
        path for path in packed.rglob("*") if path.is_file() and b"/pypi" in path.read_bytes().lower()
    ]


def test_a_following_image_carries_no_model(store: MemoryStore, tmp_path: Path) -> None:
    folder = tmp_path / "image"
    pack(store, Order(MODEL, "production", folder, follow=True, port=9000), template=TEMPLATE)
    assert not (folder / "version").exists()
    assert read_entrypoint(folder) == [
        "serve-model", MODEL, "--stage", "production", "--host", "0.0.0.0", "--port", "9000",
    ]  # fmt: skip


def test_nothing_is_left_behind_by_a_dry_run_or_a_refusal(
    store: MemoryStore, artifact: Path, tmp_path: Path
) -> None:
    made = pack(store, Order(MODEL, "production", tmp_path / "image"), template=TEMPLATE, dry_run=True)
    assert isinstance(made, Package)
    assert "Dockerfile" in made.files
    with pytest.raises(NotFoundError, match="has no staging version"):
        pack(store, Order(MODEL, "staging", tmp_path / "image"), template=TEMPLATE)
    with pytest.raises(UsageError, match="is not an empty folder"):
        pack(store, Order(MODEL, "production", artifact), template=TEMPLATE)
    assert list(tmp_path.iterdir()) == []


def test_a_version_that_was_changed_after_it_was_verified_is_not_packaged(
    artifact: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for path in artifact.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    store = MemoryStore()
    store.add_model(MODEL)
    store.add_version(MODEL, str(source))
    ledger = Ledger(store, MODEL, actor=Actor("test"))
    version = store.get_version(MODEL, "1")
    manifest = compute_manifest(source).digest
    for stage in ("staging", "production"):
        draft = Draft(
            action="promote",
            nonce=new_nonce(),
            stage=stage,
            version="1",
            manifest=manifest,
            created_ms=version.created_ms,
        )
        commit(ledger, ledger.open().state, version, draft)
    (source / "input_example.json").write_text("{}")
    with pytest.raises(TamperedError, match="are not those that were verified"):
        pack(store, Order(MODEL, "production", tmp_path / "image"), template=TEMPLATE)


def test_a_version_that_would_run_somebodys_code_is_not_packaged(artifact: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for path in artifact.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    (source / "model.pkl").write_bytes(b"\x80\x04.")
    store = MemoryStore()
    store.add_model(MODEL)
    store.add_version(MODEL, str(source))
    store.set_alias(MODEL, "production", "1")
    with pytest.raises(UntrustedError, match=r"model\.pkl"):
        pack(store, Order(MODEL, "production", tmp_path / "image"), template=TEMPLATE)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("no-such-package-here==1.0", "is needed and not installed here"),
        ("scikit-learn==0.1", "is needed, and .* is installed here"),
        ("./local.whl", "names no package"),
    ],
)
def test_a_requirement_that_cannot_be_locked_is_named(line: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        lock_requirements([line])


def test_lines_for_other_systems_are_left_out() -> None:
    assert not [
        line
        for line in lock_requirements(["no-such-package-here; sys_platform == 'win32'", "# a remark"])
        if "no-such" in line
    ]


def test_the_wheel_says_truly_what_it_holds_and_not_when_it_was_made(packed: Path) -> None:
    (path,) = (packed / "wheels").iterdir()
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        (record,) = [name for name in names if name.endswith("/RECORD")]
        lines = [line.split(",") for line in wheel.read(record).decode().splitlines()]
        assert [name for name, *_ in lines] == names
        for name, digest, size in lines[:-1]:
            content = wheel.read(name)
            wanted = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            assert (digest, int(size)) == (f"sha256={wanted}", len(content))
        assert {one.date_time for one in wheel.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert not [name for name in names if "__pycache__" in name]
        (metadata,) = [name for name in names if name.endswith("/METADATA")]
        assert b"editables" not in wheel.read(metadata)
