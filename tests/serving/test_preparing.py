"""The follower's steps, without processes: a store in memory, real artifacts, a real cache."""

import pickle
import re
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from sklearn.dummy import DummyRegressor

from registry import (
    GreenroomError,
    MemoryStore,
    NotFoundError,
    RegistryStore,
    TamperedError,
    UnreachableError,
)
from serving.cache import ModelCache
from serving.following import Follower
from serving.holding import StageWatch
from serving.live import PreparedModel, State
from serving.preparing import Preparer, Shelf
from serving.scorer import JSON
from serving.scoring import NativeScorer
from serving.target import Target
from serving.telemetry import Telemetry

TABLE = pd.DataFrame({"x": [0.0, 1.0]})


class InProcess:
    """Workers, native process and workshop in one process: what is warmed is loaded here."""

    def __init__(self, preparer: Preparer, shelf: Shelf) -> None:
        self.preparer = preparer
        self.shelf = shelf
        self.loaded: dict[str, NativeScorer] = {}

    def prepare(self, target: Target, wake: Callable[[], None]) -> PreparedModel | None:
        del wake
        return self.shelf.find(target) or self.preparer.prepare(target)

    def warm(self, model: PreparedModel) -> None:
        if model.manifest not in self.loaded:
            self.loaded[model.manifest] = NativeScorer.load(Path(model.artifact))

    def show(self, state: State) -> None:
        wanted = {model.manifest for model in state.loaded}
        self.loaded = {key: scorer for key, scorer in self.loaded.items() if key in wanted}
        assert set(self.loaded) == wanted


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
        self.telemetry = Telemetry("m")
        cache = ModelCache(self.folder / "cache")
        shelf = Shelf(cache, server="server", model="m", stage="production", trust_author=False)
        preparer = Preparer(self.connect, cache, model="m", trust_author=False)
        self.cast = InProcess(preparer, shelf)
        self.follower = Follower(
            StageWatch(self.connect, "m", "production", template="greenroom/{model}"),
            self.cast,
            self.cast,
            shelf,
            self.telemetry,
            interval_s=0.0,
            cache_limit_bytes=2**30,
            announce=self.announce,
        )

    def connect(self) -> RegistryStore:
        if self.away:
            raise UnreachableError("MLflow does not answer.")
        return self.store

    def announce(self, state: State) -> None:
        del state
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

    @property
    def state(self) -> State:
        return self.follower.state

    def step(self, version: str | None = None) -> str | None:
        """Moves the alias, if told to; one look; returns the version that is served then."""
        if version:
            self.store.set_alias("m", "production", version)
        self.follower.step()
        return self.state.model.version if self.state.model else None

    @property
    def scorer(self) -> NativeScorer:
        assert self.state.model is not None
        return self.cast.loaded[self.state.model.manifest]

    def predict(self) -> bytes:
        return self.scorer.score(b'{"dataframe_records": [{"x": 0.5}]}', JSON).body

    def tell_problem(self) -> str:
        (problem,) = self.state.following.problems
        return problem


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_versions_come_and_go_as_the_alias_moves(stage: Stage) -> None:
    for value in (1.0, 2.0):
        stage.add_version(value)
    assert stage.step() is None
    assert (stage.state.following.empty, stage.announced) == (True, 1)
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
    first = stage.scorer
    stage.step("2")
    shutil.rmtree(stage.folder / "cache" / "models")
    shutil.rmtree(stage.folder / "logged")
    assert stage.step("1") == "1"
    assert stage.scorer is first


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
    assert stage.state.following.problems == ()
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
    assert stage.state.model is not None
    assert stage.state.model.from_cache
    assert stage.state.following.problems


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
    assert stage.state.following.refused == "2"
    refusals = f'greenroom_refusals_total{{model="m",reason="{reason}",version="2"}} 1.0'
    assert refusals in stage.telemetry.render().decode()
    assert stage.step("1") == "1"
    assert stage.state.following.problems == ()


def test_files_that_history_does_not_know_are_not_loaded_and_not_kept(stage: Stage) -> None:
    stage.add_version(1.0)
    cache = ModelCache(stage.folder / "cache")
    preparer = Preparer(stage.connect, cache, model="m", trust_author=True)
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
    assert (stage.state.following.problems, stage.state.following.refused) == ((), None)


def test_a_staged_version_is_loaded_before_it_is_promoted(stage: Stage) -> None:
    for value in (1.0, 2.0):
        stage.add_version(value)
    stage.store.set_alias("m", "staging", "2")
    assert stage.step("1") == "1"
    assert stage.state.staged is not None
    assert stage.state.staged.version == "2"
    ahead = stage.cast.loaded[stage.state.staged.manifest]
    shutil.rmtree(stage.folder / "cache" / "models")
    shutil.rmtree(stage.folder / "logged")
    assert stage.step("2") == "2"
    assert stage.scorer is ahead
    assert stage.state.previous is not None
    assert stage.state.previous.version == "1"


def test_a_staged_version_that_will_not_do_is_told_of_and_degrades_nothing(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.add_version(1.0)
    lose_weights(stage.add_version(2.0))
    stage.store.set_alias("m", "staging", "2")
    assert stage.step("1") == "1"
    assert (stage.state.staged, stage.state.following.problems, stage.state.following.refused) == (
        None,
        (),
        None,
    )
    assert "Version 2, which is staged, cannot be served" in caplog.text


def test_what_is_not_staged_any_more_is_let_go(stage: Stage) -> None:
    for value in (1.0, 2.0):
        stage.add_version(value)
    stage.store.set_alias("m", "staging", "2")
    stage.step("1")
    stage.store.delete_alias("m", "staging")
    stage.step()
    assert stage.state.staged is None
    assert len(stage.cast.loaded) == 1


def test_a_version_that_was_tried_out_is_not_tried_again_after_a_restart(stage: Stage) -> None:
    folder = stage.add_version(1.0)
    stage.step("1")
    shutil.rmtree(folder)
    stage.start()
    assert stage.step() == "1"
    assert stage.state.model is not None
    assert stage.state.model.from_cache
    assert stage.state.following.problems == ()


def test_trusting_authors_once_does_not_trust_them_for_ever(stage: Stage) -> None:
    add_pickle(stage.add_version(1.0))
    cache = ModelCache(stage.folder / "cache")
    target = Target("1", created_ms=stage.store.get_version("m", "1").created_ms, managed=False)
    model = Preparer(stage.connect, cache, model="m", trust_author=True).prepare(target)

    def make_shelf(*, trust_author: bool) -> Shelf:
        return Shelf(cache, server="s", model="m", stage="production", trust_author=trust_author)

    make_shelf(trust_author=True).remember(State(model=model))
    assert make_shelf(trust_author=True).find(target) is not None
    assert make_shelf(trust_author=False).find(target) is None
    assert make_shelf(trust_author=False).restore() is None


class Canary:
    """Unpickled, it writes the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


def pickle_weights(folder: Path, canary: Path) -> None:
    (folder / "model.skops").unlink()
    (folder / "model.pkl").write_bytes(pickle.dumps(Canary(canary)))
    mlmodel = folder / "MLmodel"
    text = mlmodel.read_text().replace("model.skops", "model.pkl")
    mlmodel.write_text(re.sub("serialization_format: skops", "serialization_format: cloudpickle", text))


def edit_mlmodel(folder: Path, canary: Path) -> None:
    mlmodel = folder / "MLmodel"
    text = mlmodel.read_text().replace("loader_module: mlflow.sklearn", "loader_module: evil\n    code: code")
    mlmodel.write_text(text)
    (folder / "code").mkdir()
    (folder / "code" / "evil.py").write_text(f"open({str(canary)!r}, 'w')")


@pytest.mark.parametrize("harm", [pickle_weights, edit_mlmodel])
@pytest.mark.parametrize("alias", ["production", "staging"])
def test_code_that_nobody_vouched_for_does_not_run_staged_or_promoted(
    stage: Stage, harm: Callable[[Path, Path], None], alias: str
) -> None:
    canary = stage.folder / "canary"
    stage.add_version(1.0)
    harm(stage.add_version(2.0), canary)
    stage.step("1")
    stage.store.set_alias("m", alias, "2")
    assert stage.step() == "1"
    assert not canary.exists()
    assert 'reason="untrusted",version="2"' in stage.telemetry.render().decode()


def test_the_same_pickle_runs_where_authors_are_trusted(stage: Stage) -> None:
    """The canary sings: the test above would hear it."""
    canary = stage.folder / "canary"
    stage.add_version(1.0)
    pickle_weights(stage.folder / "logged" / "1.0", canary)
    cache = ModelCache(stage.folder / "cache")
    with pytest.raises(GreenroomError):
        Preparer(stage.connect, cache, model="m", trust_author=True).prepare(Target("1", managed=False))
    assert canary.exists()
