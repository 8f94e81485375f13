"""Registers versions on a real MLflow server over plain HTTP: what a test needs before Greenroom comes in."""

import json
import urllib.request
from pathlib import Path
from typing import Any

from registry import RegistryStore


def call(uri: str, route: str, **body: Any) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{uri}/api/2.0/mlflow/{route}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.loads(answer.read())
        return found


def register(store: RegistryStore, name: str, folder: Path, count: int) -> list[str]:
    """Registers ``count`` versions of a new model; their artifact is the folder's content."""
    uri = store.tracking_uri
    run = store.create_run("0", "made for a test", {})
    store.upload(run.run_id, str(folder))
    store.finish_run(run.run_id)
    call(uri, "registered-models/create", name=name)
    return [
        call(uri, "model-versions/create", name=name, source=run.artifact_uri, run_id=run.run_id)[
            "model_version"
        ]["version"]
        for _ in range(count)
    ]
