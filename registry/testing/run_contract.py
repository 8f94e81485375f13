"""The contract's part on experiments, runs, and the write-once params that the ledger rests on."""

# ruff: noqa: D102 - the names of the tests are sentences

import uuid
from functools import partial

import pytest

from registry.errors import AlreadyExistsError, GreenroomError, NotFoundError, StoreError, UsageError
from registry.store import RegistryStore, Run

from .contract_base import RACERS, ContractBase, make_experiment_name
from .races import run_race

__all__ = ["RunContract"]


class RunContract(ContractBase):
    """Experiments and runs."""

    # experiments

    def test_an_experiment_is_found_by_its_exact_name_with_its_tags(self, store: RegistryStore) -> None:
        name = make_experiment_name()
        assert store.find_experiment(name) is None
        experiment_id = store.create_experiment(name, {"greenroom.ledger": "abc"})
        store.set_experiment_tag(experiment_id, "greenroom.head_run", "def")
        found = store.find_experiment(name)
        assert found is not None
        assert (found.experiment_id, found.name, found.active) == (experiment_id, name, True)
        assert dict(found.tags) == {"greenroom.ledger": "abc", "greenroom.head_run": "def"}
        assert store.find_experiment(name.upper()) is None

    def test_a_taken_experiment_name_is_refused(self, store: RegistryStore) -> None:
        name = make_experiment_name()
        store.create_experiment(name, {})
        with pytest.raises(AlreadyExistsError, match="taken"):
            store.create_experiment(name, {})

    def test_a_deleted_experiment_keeps_its_name_and_is_found(self, store: RegistryStore) -> None:
        name = make_experiment_name()
        experiment_id = store.create_experiment(name, {"greenroom.ledger": "abc"})
        store.delete_experiment(experiment_id)
        found = store.find_experiment(name)
        assert found is not None
        assert (found.experiment_id, found.active) == (experiment_id, False)
        assert dict(found.tags) == {"greenroom.ledger": "abc"}
        with pytest.raises(AlreadyExistsError):
            store.create_experiment(name, {})
        with pytest.raises(AlreadyExistsError):
            store.rename_experiment(store.create_experiment(make_experiment_name(), {}), name)

    def test_of_twenty_experiments_created_at_once_under_a_name_one_is(self, store: RegistryStore) -> None:
        name = make_experiment_name()
        racers = [partial(store.create_experiment, name, {"racer": str(i)}) for i in range(RACERS)]
        won, lost = run_race(racers, AlreadyExistsError)
        assert (len(won), len(lost)) == (1, RACERS - 1)
        found = store.find_experiment(name)
        assert found is not None
        assert found.experiment_id == won[0]
        assert set(found.tags) == {"racer"}

    def test_an_experiment_can_be_renamed_also_to_its_own_name(self, store: RegistryStore) -> None:
        old, new = make_experiment_name(), make_experiment_name()
        experiment_id = store.create_experiment(old, {})
        store.rename_experiment(experiment_id, new)
        store.rename_experiment(experiment_id, new)
        found = store.find_experiment(new)
        assert found is not None
        assert found.experiment_id == experiment_id
        assert store.find_experiment(old) is None

    def test_of_twenty_experiments_renamed_at_once_to_a_name_one_is(self, store: RegistryStore) -> None:
        name = make_experiment_name()
        ids = [store.create_experiment(make_experiment_name(), {}) for _ in range(RACERS)]
        racers = [partial(store.rename_experiment, experiment_id, name) for experiment_id in ids]
        won, lost = run_race(racers, AlreadyExistsError)
        assert (len(won), len(lost)) == (1, RACERS - 1)
        found = store.find_experiment(name)
        assert found is not None
        assert found.experiment_id in ids

    def test_a_deleted_experiment_takes_no_run_and_no_other_name(self, store: RegistryStore) -> None:
        experiment_id = store.create_experiment(make_experiment_name(), {})
        store.delete_experiment(experiment_id)
        with pytest.raises(StoreError):
            store.create_run(experiment_id, "late", {})
        with pytest.raises(GreenroomError):  # MLflow answers 500, and its own client forgets why
            store.rename_experiment(experiment_id, make_experiment_name())

    # runs

    def test_a_run_has_what_it_was_given(self, store: RegistryStore, run: Run) -> None:
        found = store.get_run(run.run_id)
        assert found == run
        assert (found.name, found.status, found.active) == ("chapter", "RUNNING", True)
        assert (found.tags["kind"], dict(found.params), dict(found.metrics)) == ("ledger", {}, {})
        assert found.start_ms > 0
        assert found.end_ms is None

    def test_a_run_that_does_not_exist_is_not_found(self, store: RegistryStore) -> None:
        with pytest.raises(NotFoundError):
            store.get_run(uuid.uuid4().hex)

    def test_a_run_has_the_user_of_its_tag(self, store: RegistryStore, experiment_id: str) -> None:
        made = store.create_run(experiment_id, "evidence", {"mlflow.user": "ann"})
        assert store.get_run(made.run_id).user == "ann"

    @pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
    def test_a_run_ends_and_still_takes_params_and_tags(
        self, store: RegistryStore, run: Run, status: str
    ) -> None:
        store.finish_run(run.run_id, status)
        store.log_param(run.run_id, "0001", "entry")
        store.set_run_tag(run.run_id, "late", "yes")
        found = store.get_run(run.run_id)
        assert (found.status, found.params["0001"], found.tags["late"]) == (status, "entry", "yes")
        assert found.end_ms is not None
        assert found.end_ms >= found.start_ms

    def test_a_deleted_run_is_found_and_refuses_params(self, store: RegistryStore, run: Run) -> None:
        store.log_param(run.run_id, "0001", "entry")
        store.delete_run(run.run_id)
        store.delete_run(run.run_id)
        assert store.get_run(run.run_id).active is False
        with pytest.raises(StoreError):
            store.log_param(run.run_id, "0002", "entry")
        assert dict(store.get_run(run.run_id).params) == {"0001": "entry"}

    def test_deleting_a_run_that_does_not_exist_is_not_found(self, store: RegistryStore) -> None:
        with pytest.raises(NotFoundError):
            store.delete_run(uuid.uuid4().hex)

    def test_metrics_are_logged_finite_ones_only(self, store: RegistryStore, run: Run) -> None:
        store.log_metrics(run.run_id, {"log_loss": 0.25, "negative": -1e-12})
        with pytest.raises(UsageError, match="worse is nan"):
            store.log_metrics(run.run_id, {"worse": float("nan")})
        assert dict(store.get_run(run.run_id).metrics) == {"log_loss": 0.25, "negative": -1e-12}

    def test_more_metrics_than_mlflow_takes_at_once_are_logged(self, store: RegistryStore, run: Run) -> None:
        metrics = {f"m{number:04}": float(number) for number in range(1001)}
        store.log_metrics(run.run_id, metrics)
        assert dict(store.get_run(run.run_id).metrics) == metrics

    # params: what the ledger rests on

    def test_a_param_is_written_once(self, store: RegistryStore, run: Run) -> None:
        store.log_param(run.run_id, "0001", '{"ü": "\\n"}')
        store.log_param(run.run_id, "0001", '{"ü": "\\n"}')
        with pytest.raises(AlreadyExistsError, match="0001"):
            store.log_param(run.run_id, "0001", "another")
        assert dict(store.get_run(run.run_id).params) == {"0001": '{"ü": "\\n"}'}

    def test_of_twenty_values_written_at_once_one_is(self, store: RegistryStore, run: Run) -> None:
        racers = [partial(self._write, store, run.run_id, f"value {i}") for i in range(RACERS)]
        won, lost = run_race(racers, AlreadyExistsError)
        assert (len(won), len(lost)) == (1, RACERS - 1)
        assert store.get_run(run.run_id).params["0001"] == won[0]

    def test_one_value_written_by_twenty_at_once_succeeds_for_all(
        self, store: RegistryStore, run: Run
    ) -> None:
        racers = [partial(self._write, store, run.run_id, "same") for _ in range(RACERS)]
        won, lost = run_race(racers, AlreadyExistsError)
        assert (won, lost) == (["same"] * RACERS, [])

    def test_a_value_of_6000_characters_is_kept_whole_and_a_longer_one_refused(
        self, store: RegistryStore, run: Run
    ) -> None:
        store.log_param(run.run_id, "0001", "ü" * 6000)
        with pytest.raises(UsageError, match="6001"):
            store.log_param(run.run_id, "0002", "x" * 6001)
        assert dict(store.get_run(run.run_id).params) == {"0001": "ü" * 6000}

    def test_a_param_of_a_missing_run_is_not_found(self, store: RegistryStore) -> None:
        with pytest.raises(NotFoundError):
            store.log_param(uuid.uuid4().hex, "0001", "entry")

    @staticmethod
    def _write(store: RegistryStore, run_id: str, value: str) -> str:
        store.log_param(run_id, "0001", value)
        return value
