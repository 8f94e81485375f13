"""A model with a past, on a real MLflow of its own: made once, exported by many tests, changed by none."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from registry import (
    PRODUCTION,
    STAGING,
    EvaluationRows,
    ModelVersion,
    RegistryStore,
    Settings,
    Tag,
    compute_manifest,
    format_evaluation,
)
from registry.bundle.content import Bundle, open_bundle
from registry.bundle.exporting import Exported, export_bundle
from registry.bundle.importing import Imported, import_bundle
from registry.evidence import begin_evidence
from registry.ledger.entry import Draft
from registry.ledger.ledger import Actor, Ledger, new_nonce
from registry.moves import speak
from registry.policy import EvaluationPolicy, Policy
from registry.promotion import commit
from registry.stores.client import ClientStore
from registry.stores.making import Maker
from registry.upkeep import ensure_history
from tests.fixtures.mlflow_stores import copy_template
from tests.registry.conftest import Artifacts

NAME = "tumor"


@dataclass(frozen=True)
class Place:
    """An MLflow, and the model's history in it."""

    settings: Settings
    store: RegistryStore
    maker: Maker
    ledger: Ledger

    @property
    def versions(self) -> list[ModelVersion]:
        """All versions of the model, oldest first."""
        return sorted(self.store.list_versions(self.ledger.name), key=lambda one: int(one.version))


def open_place(uri: str, name: str = NAME, store: RegistryStore | None = None) -> Place:
    settings = Settings(tracking_uri=uri, registry_uri=uri)
    store = store or ClientStore(uri)
    return Place(settings, store, Maker(settings), Ledger(store, name, actor=Actor("ada@lab")))


def register(place: Place, artifact: Path, rows: Path, folder: Path) -> str:
    """As a training would: a run with params, metrics, settings and evaluation rows, and a version of it."""
    experiment = place.store.find_experiment("training")
    experiment_id = experiment.experiment_id if experiment else place.store.create_experiment("training", {})
    maker = place.maker
    run_id = maker.create_run(experiment_id, artifact.name, "ada", 1_700_000_000_000)
    files = folder / run_id
    (files / "evaluation").mkdir(parents=True)
    shutil.copyfile(rows, files / "evaluation" / "rows.parquet")
    (files / "job.json").write_text(json.dumps({"data": {"source": "/home/ada/tumor/rows.csv"}}))
    table = pd.read_parquet(rows)
    kept = EvaluationRows(
        path="evaluation/rows.parquet",
        target="benign",
        task="binary",
        group=None,
        features=tuple(name for name in table.columns if name != "benign"),
        classes=(0, 1),
        rows=len(table),
        sha256=hashlib.sha256(rows.read_bytes()).hexdigest(),
    )
    tags = {
        Tag.KIND: "training",
        Tag.DATA_SHA256: "ab" * 32,
        Tag.EVALUATION: format_evaluation(kept),
        "mlflow.note.content": f"Learned from {folder}/rows.csv, see [run](#/experiments/1/runs/{run_id}).",
    }
    maker.fill_run(run_id, {"data.source": "/home/ada/tumor/rows.csv", "C": "1.0"}, {"auc": 0.1 + 0.2}, tags)
    place.store.upload(run_id, str(files))
    maker.finish_run(run_id, "FINISHED", 1_700_000_001_000)
    maker.create_model(place.ledger.name, "Tumors.")
    model_id = maker.create_logged_model(experiment_id, "tumor", run_id, {})
    place.store.upload_logged_model(model_id, str(artifact))
    maker.finish_logged_model(model_id)
    own = {Tag.DATA_SHA256: "ab" * 32, "team": "pathology"}
    return maker.create_version(place.ledger.name, model_id, run_id, own, "Five features.")


def move(ledger: Ledger, number: str, stage: str, artifact: Path, **evidence: str) -> None:
    """Promotes without judging, which takes seconds."""
    state = ensure_history(ledger)
    version, manifest = ledger.store.get_version(ledger.name, number), compute_manifest(artifact)
    holder = state.holder(stage)
    draft = Draft(
        action="promote",
        nonce=new_nonce(),
        stage=stage,
        version=number,
        was=holder.version if holder else None,
        created_ms=version.created_ms,
        manifest=manifest.digest,
        layout=manifest.layout,
        **evidence,  # type: ignore[arg-type] # names of three of its fields
    )
    commit(ledger, state, version, draft)


def keep_evidence(place: Place, number: str, rows: Path, folder: Path) -> dict[str, str]:
    """What a comparison leaves: a run with the document, and the rows that it names by their sha256."""
    version, home = place.store.get_version(NAME, number), place.ledger.open().chapter.experiment_id
    run_id = begin_evidence(place.store, home, version=version, stage=PRODUCTION, actor="ada@lab")
    policy = Policy(evaluation=EvaluationPolicy(target="benign"))
    document = {
        "schema": "greenroom/evidence/2",
        "quality": [{"name": "metric", "verdict": "yes", "reason": "It is better."}],
        "policy": policy.model_dump(mode="json"),
        "rows": hashlib.sha256(rows.read_bytes()).hexdigest(),
    }
    files = folder / run_id
    files.mkdir()
    (files / "evidence.json").write_text(json.dumps(document))
    shutil.copyfile(rows, files / "rows.parquet")
    place.store.upload(run_id, str(files))
    place.store.finish_run(run_id)
    digest = hashlib.sha256((files / "evidence.json").read_bytes()).hexdigest()
    return {"evidence_run": run_id, "evidence": digest, "policy": policy.compute_digest()}


@pytest.fixture(scope="session")
def source(sqlite_template: Path, artifacts: Artifacts, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """1 was in production, 2 took it over on evidence; 3 holds a pickle; 4 was rejected."""
    folder = tmp_path_factory.mktemp("source")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        place = open_place(copy_template(sqlite_template, folder / "mlflow.db", str(folder / "mlruns" / "0")))
        for artifact in (artifacts.bad, artifacts.good, artifacts.pickled, artifacts.fair):
            register(place, artifact, artifacts.rows, folder)
        speak(place.ledger, "reject", "4")
        for number, stage, artifact in (
            ("1", STAGING, artifacts.bad),
            ("1", PRODUCTION, artifacts.bad),
            ("2", STAGING, artifacts.good),
        ):
            move(place.ledger, number, stage, artifact)
        evidence = keep_evidence(place, "2", artifacts.rows, folder)
        move(place.ledger, "2", PRODUCTION, artifacts.good, **evidence)
    return place


Export = Callable[..., Exported]


@pytest.fixture(scope="session")
def export(source: Place, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Exports a version of the source, the one in production if none is named."""

    def run(version: str = "2", **how: Any) -> Exported:
        found = source.store.get_version(NAME, version)
        return export_bundle(source.ledger, found, tmp_path_factory.mktemp("export") / "tumor.bundle", **how)

    return run


@pytest.fixture(scope="session")
def exported(export: Export) -> Exported:
    """The version in production, exported."""
    return export()


@pytest.fixture(scope="session")
def bundle(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The same, checked and unpacked; nobody's to change."""
    return open_bundle(exported.file, tmp_path_factory.mktemp("unpacked"))


def open_fresh(sqlite_template: Path, folder: Path) -> Place:
    """An empty MLflow of its own."""
    return open_place(copy_template(sqlite_template, folder / "mlflow.db", str(folder / "mlruns" / "0")))


@pytest.fixture
def target(sqlite_template: Path, tmp_path: Path) -> Place:
    """Another, empty MLflow."""
    return open_fresh(sqlite_template, tmp_path)


@pytest.fixture(scope="session")
def arrived(
    bundle: Bundle, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Place, Imported]:
    """Another MLflow, into which the bundle came; nobody's to change."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("arrived")
        patch.chdir(folder)
        place = open_fresh(sqlite_template, folder)
        return place, import_bundle(place.ledger, place.maker, bundle)
