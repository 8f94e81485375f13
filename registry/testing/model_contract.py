"""The contract's part on registered models, versions and aliases."""

# ruff: noqa: D102 - the names of the tests are sentences

import uuid
from functools import partial

import pytest

from registry.errors import AlreadyExistsError, NotFoundError
from registry.store import RegistryStore, Run

from .contract_base import RACERS, ContractBase
from .races import run_race
from .seeds import Seed

__all__ = ["ModelContract"]


class ModelContract(ContractBase):
    """Registered models, their versions and aliases."""

    # identity

    def test_uris_carry_no_credentials(self, store: RegistryStore) -> None:
        assert "@" not in store.tracking_uri
        assert "@" not in store.registry_uri

    def test_the_server_says_its_version(self, store: RegistryStore) -> None:
        assert store.get_server_version().split(".")[0] == "3"

    def test_nobody_is_authenticated_where_nobody_asks(self, store: RegistryStore) -> None:
        assert store.get_user() is None

    # registered models

    def test_a_model_that_does_not_exist_is_not_found(self, store: RegistryStore) -> None:
        with pytest.raises(NotFoundError, match="nobody"):
            store.get_model("nobody-registered-this")

    def test_a_model_has_its_tags_aliases_and_description(
        self, store: RegistryStore, seed: Seed, model: str
    ) -> None:
        seed.add_version(model, "s3://bucket/a")
        store.set_model_tag(model, "owner", "ann")
        store.set_model_tag(model, "owner", "bob")
        store.set_model_tag(model, "empty", "")
        store.set_alias(model, "production", "1")
        store.describe_model(model, "**bold** ü")
        found = store.get_model(model)
        assert (found.name, found.description) == (model, "**bold** ü")
        assert dict(found.tags) == {"owner": "bob", "empty": ""}
        assert dict(found.aliases) == {"production": "1"}
        assert found.created_ms > 0

    def test_a_new_model_has_nothing(self, store: RegistryStore, model: str) -> None:
        found = store.get_model(model)
        assert (dict(found.aliases), dict(found.tags), found.description) == ({}, {}, "")

    def test_a_renamed_model_is_not_found_under_its_old_name(
        self, store: RegistryStore, seed: Seed, model: str
    ) -> None:
        seed.add_version(model, "s3://bucket/a")
        store.set_alias(model, "production", "1")
        seed.rename_model(model, f"{model}-new")
        with pytest.raises(NotFoundError):
            store.get_model(model)
        assert dict(store.get_model(f"{model}-new").aliases) == {"production": "1"}
        assert [version.name for version in store.list_versions(f"{model}-new")] == [f"{model}-new"]

    def test_models_are_listed_by_name_over_all_pages(self, store: RegistryStore, seed: Seed) -> None:
        names = [f"{uuid.uuid4().hex[:8]}-page" for _ in range(9)]
        for name in names:
            seed.add_model(name)
        listed = [model.name for model in store.list_models()]
        assert listed == sorted(listed)
        assert set(names) <= set(listed)

    @pytest.mark.parametrize("name", ["it's", 'the "best"', "a b+c%d&e=f", "ünïcode"])
    def test_awkward_names_are_themselves(self, store: RegistryStore, seed: Seed, name: str) -> None:
        name = f"{name} {uuid.uuid4().hex[:8]}"
        seed.add_model(name)
        seed.add_version(name, "s3://bucket/a")
        assert store.get_model(name).name == name
        assert [version.name for version in store.list_versions(name)] == [name]

    # versions

    def test_a_version_that_does_not_exist_is_not_found(self, store: RegistryStore, model: str) -> None:
        with pytest.raises(NotFoundError):
            store.get_version(model, "1")
        with pytest.raises(NotFoundError):
            store.get_version("nobody-registered-this", "1")

    def test_versions_of_no_model_are_not_found_and_of_a_new_one_none(
        self, store: RegistryStore, model: str
    ) -> None:
        assert list(store.list_versions(model)) == []
        with pytest.raises(NotFoundError):
            store.list_versions("nobody-registered-this")

    def test_versions_are_listed_newest_first_by_number_over_all_pages(
        self, store: RegistryStore, seed: Seed, model: str
    ) -> None:
        for _ in range(11):
            seed.add_version(model, "s3://bucket/a")
        assert [version.version for version in store.list_versions(model)] == [
            str(number) for number in range(11, 0, -1)
        ]

    def test_a_version_has_its_source_run_tags_and_description(
        self, store: RegistryStore, seed: Seed, model: str, run: Run
    ) -> None:
        number = seed.add_version(model, f"runs:/{run.run_id}/model", run.run_id)
        store.set_version_tag(model, number, "stage", "candidate")
        store.set_version_tag(model, number, "stage", "staging")
        store.describe_version(model, number, "trained in *June*")
        found = store.get_version(model, number)
        assert (found.name, found.version, found.status) == (model, number, "READY")
        assert (found.source, found.run_id) == (f"runs:/{run.run_id}/model", run.run_id)
        assert (dict(found.tags), found.description) == ({"stage": "staging"}, "trained in *June*")
        assert found.created_ms > 0
        assert found == store.list_versions(model)[0]

    def test_a_version_made_again_under_a_number_has_another_creation_time(
        self, store: RegistryStore, seed: Seed, model: str
    ) -> None:
        seed.add_version(model, "s3://bucket/a")
        before = store.get_version(model, "1")
        seed.remove_model(model)
        seed.add_model(model)
        seed.add_version(model, "s3://bucket/a")
        assert store.get_version(model, "1").created_ms > before.created_ms

    # aliases

    def test_an_alias_moves(self, store: RegistryStore, seed: Seed, model: str) -> None:
        seed.add_version(model, "s3://bucket/a")
        seed.add_version(model, "s3://bucket/b")
        store.set_alias(model, "production", "1")
        store.set_alias(model, "production", "2")
        assert dict(store.get_model(model).aliases) == {"production": "2"}

    def test_an_alias_of_a_missing_version_is_not_found(self, store: RegistryStore, model: str) -> None:
        with pytest.raises(NotFoundError):
            store.set_alias(model, "production", "7")
        assert dict(store.get_model(model).aliases) == {}

    def test_an_alias_can_be_deleted_twice(self, store: RegistryStore, seed: Seed, model: str) -> None:
        seed.add_version(model, "s3://bucket/a")
        store.set_alias(model, "staging", "1")
        store.delete_alias(model, "staging")
        store.delete_alias(model, "staging")
        assert dict(store.get_model(model).aliases) == {}

    def test_an_alias_of_a_missing_model_is_not_found(self, store: RegistryStore) -> None:
        with pytest.raises(NotFoundError):
            store.delete_alias("nobody-registered-this", "staging")

    def test_deleting_the_version_drops_its_alias(self, store: RegistryStore, seed: Seed, model: str) -> None:
        seed.add_version(model, "s3://bucket/a")
        store.set_alias(model, "production", "1")
        seed.remove_version(model, "1")
        assert dict(store.get_model(model).aliases) == {}

    def test_an_alias_set_by_twenty_at_once_is_set_for_all(
        self, store: RegistryStore, seed: Seed, model: str
    ) -> None:
        numbers = [seed.add_version(model, "s3://bucket/a") for _ in range(4)]
        racers = [partial(store.set_alias, model, "fresh", numbers[i % 4]) for i in range(RACERS)]
        won, lost = run_race(racers, AlreadyExistsError)
        assert (len(won), lost) == (RACERS, [])
        assert store.get_model(model).aliases["fresh"] in numbers

    def test_a_tag_set_by_twenty_at_once_is_set_for_all(self, store: RegistryStore, model: str) -> None:
        racers = [partial(store.set_model_tag, model, "fresh", str(i)) for i in range(RACERS)]
        won, lost = run_race(racers, AlreadyExistsError)
        assert (len(won), lost) == (RACERS, [])
