"""The follower's steps, without processes: a store in memory, real artifacts, a real cache."""

import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from sklearn.dummy import DummyRegressor

from registry import MemoryStore, NotFoundError, RegistryStore, TamperedError, UnreachableError
from serving.cache import ModelCache
from serving.following import Follower
from serving.holding import StageWatch, Target
from serving.live import Live
from serving.preparing import Preparer
from serving.scoring import JSON
from serving.telemetry import Telemetry

TABLE = pd.DataFrame({"x": [0.0, 1.0]})


@dataclass
class Stage:
    """One follower and everything around it. ``away``: MLflow does not answer."""

    folder: Path
    store: MemoryStore = field(default_factory=MemoryStore)
    away: bool = False
    announced: int = 0

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """A process that has just begun: nothing is loaded, the cache is as it was left."""
        self.live, self.telemetry = Live(), Telemetry("m")
        cache = ModelCache(self.folder / "cache")
        preparer = Preparer(
            self.connect, cache, server="server", model="m", stage="production", trust_author=False
        )
        watch = StageWatch(self.connect, "m", "production", template="greenroom/{model}")
        self.follower = Follower(
            watch, preparer, self.live, self.telemetry, interval_s=0.0, announce=self.announce
        )

    def connect(self) -> RegistryStore:
        if self.away:
            raise UnreachableError("MLflow does not answer.")
        return self.store

    def announce(self) -> None:
        self.announced += 1

    def add_version(self, value: float) -> Path:
        """Registers a version that always predicts this; returns its files."""
        folder = self.folder / "logged" / str(value)
        model = DummyRegressor(strategy="constant", constant=value).fit(TABLE, [0.0, 1.0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow's hints
            mlflow.sklearn.save_model(model, folder, input_example=TABLE, pip_requirements=["scikit-learn"])
        if value == 1.0:
            self.store.add_model("m")
        self.store.add_version("m", str(folder))
        return folder

    def step(self, version: str | None = None) -> str | None:
        """Moves the alias, if told to; one look; returns the version that is served then."""
        if version:
            self.store.set_alias("m", "production", version)
        self.follower.step()
        return self.live.model.version if self.live.model else None

    def predict(self) -> bytes:
        assert self.live.model is not None
        return self.live.model.scorer.score(b'{"dataframe_records": [{"x": 0.5}]}', JSON).body

    def tell_problem(self) -> str:
        (problem,) = self.live.following.problems
        return problem


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_versions_come_and_go_as_the_alias_moves(stage: Stage) -> None:
    for value in (1.0, 2.0):
        stage.add_version(value)
    assert stage.step() is None
    assert (stage.live.following.empty, stage.announced) == (True, 1)
    assert stage.step("1") == "1"
    assert (stage.predict(), stage.announced) == (b'{"predictions": [1.0]}', 2)
    assert stage.step("2") == "2"
    assert stage.predict() == b'{"predictions": [2.0]}'
    assert stage.step("1") == "1"
    assert stage.predict() == b'{"predictions": [1.0]}'
    assert stage.announced == 2
    text = stage.telemetry.render().decode()
    assert 'greenroom_swaps_total{model="m",path="native",version="1"} 2.0' in text


def test_a_rollback_is_served_from_memory(stage: Stage) -> None:
    for value in (1.0, 2.0):
        stage.add_version(value)
    stage.step("1")
    assert stage.live.model is not None
    first = stage.live.model.scorer
    stage.step("2")
    shutil.rmtree(stage.folder / "cache" / "models")
    shutil.rmtree(stage.folder / "logged")
    assert stage.step("1") == "1"
    assert stage.live.model.scorer is first


def test_a_model_that_does_not_exist_is_a_problem_while_nothing_else_is_known(stage: Stage) -> None:
    assert stage.step() is None
    assert "the stage cannot be looked at" in stage.tell_problem()
    with pytest.raises(NotFoundError):
        StageWatch(stage.connect, "m", "production", template="greenroom/{model}").look()


def test_mlflow_away_is_told_and_its_return_too(stage: Stage) -> None:
    stage.add_version(1.0)
    stage.step("1")
    stage.away = True
    assert stage.step() == "1"
    assert stage.tell_problem() == "the stage cannot be looked at: MLflow does not answer."
    assert 'greenroom_degraded{model="m"} 1.0' in stage.telemetry.render().decode()
    stage.away = False
    assert stage.step() == "1"
    assert stage.live.following.problems == ()
    assert 'greenroom_degraded{model="m"} 0.0' in stage.telemetry.render().decode()


def test_a_start_without_mlflow_serves_what_was_served_last(stage: Stage) -> None:
    for value in (1.0, 2.0):
        stage.add_version(value)
    stage.step("1")
    stage.step("2")
    stage.away = True
    stage.start()
    assert stage.step() == "2"
    assert stage.predict() == b'{"predictions": [2.0]}'
    assert stage.live.model is not None
    assert stage.live.model.from_cache
    assert stage.live.following.problems


def test_a_start_serves_the_last_good_version_when_the_new_one_cannot_be_had(stage: Stage) -> None:
    for value in (1.0, 2.0):
        folder = stage.add_version(value)
    stage.step("1")
    shutil.rmtree(folder)
    stage.start()
    assert stage.step("2") == "1"
    assert stage.tell_problem().startswith("version 2 cannot be served: ")


def test_a_damaged_cache_is_not_served(stage: Stage) -> None:
    stage.add_version(1.0)
    stage.step("1")
    (weights,) = (stage.folder / "cache" / "models").glob("*/model.skops")
    weights.write_bytes(weights.read_bytes() + b"x")
    stage.away = True
    stage.start()
    assert stage.step() is None
    stage.away = False
    assert stage.step() == "1"


def break_example(folder: Path) -> None:
    (folder / "serving_input_example.json").write_text('{"dataframe_records": [{"y": 1}]}')


def break_weights(folder: Path) -> None:
    (folder / "model.skops").write_bytes(b"PK not a zip")


def add_pickle(folder: Path) -> None:
    (folder / "extra.pkl").write_bytes(b"\x80\x04N.")


def lose_weights(folder: Path) -> None:
    (folder / "model.skops").unlink()


@pytest.mark.parametrize(
    ("harm", "reason", "words"),
    [
        (break_example, "artifact", "does not answer its own input example"),
        (break_weights, "untrusted", "code that nobody vouched for"),
        (lose_weights, "artifact", "does not load"),
        (add_pickle, "untrusted", "code that nobody vouched for"),
        (shutil.rmtree, "artifact", ""),
    ],
)
def test_a_version_that_will_not_do_is_refused_once_and_the_old_one_serves_on(
    stage: Stage, harm: Callable[[Path], None], reason: str, words: str
) -> None:
    stage.add_version(1.0)
    harm(stage.add_version(2.0))
    stage.step("1")
    assert stage.step("2") == "1"
    assert stage.tell_problem().startswith("version 2 cannot be served: ")
    assert words in stage.tell_problem()
    assert stage.live.following.refused == "2"
    refusals = f'greenroom_refusals_total{{model="m",reason="{reason}",version="2"}} 1.0'
    assert refusals in stage.telemetry.render().decode()
    assert stage.step("1") == "1"
    assert stage.live.following.problems == ()


def test_files_that_history_does_not_know_are_not_loaded_and_not_kept(stage: Stage) -> None:
    stage.add_version(1.0)
    preparer = Preparer(
        stage.connect,
        ModelCache(stage.folder / "cache"),
        server="server",
        model="m",
        stage="production",
        trust_author=True,
    )
    with pytest.raises(TamperedError, match="are not those that were verified"):
        preparer.prepare(Target("1", seq=3, manifest="0" * 64))
    assert list((stage.folder / "cache" / "models").iterdir()) == []
    assert list((stage.folder / "cache" / "incoming").iterdir()) == []


def test_a_repaired_version_is_taken(stage: Stage) -> None:
    stage.add_version(1.0)
    folder = stage.add_version(2.0)
    weights = (folder / "model.skops").read_bytes()
    (folder / "model.skops").unlink()
    stage.step("1")
    assert stage.step("2") == "1"
    (folder / "model.skops").write_bytes(weights)
    assert stage.step() == "2"
    assert (stage.live.following.problems, stage.live.following.refused) == ((), None)
