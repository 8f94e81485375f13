"""Any sequence of acts, rogue acts and crashes, against a model of a few lines."""

import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from registry import PRODUCTION, STAGING, ArtifactError, FixedClock, OrderError
from registry.audit import audit
from registry.ledger.entry import Draft
from registry.ledger.ledger import Actor, Ledger, new_nonce
from registry.ledger.state import State
from registry.moves import adopt, archive, rollback, speak
from registry.reconciliation import reconcile
from registry.stores.memory import MemoryStore
from registry.views import read_history
from tests.registry.histories import Killed, MortalStore, add_version, move, raise_killed


@dataclass
class Model:
    """What should be: who holds what, where every version stands, what rollback goes back to."""

    standing: dict[str, str] = field(default_factory=dict)
    holders: dict[str, str] = field(default_factory=dict)
    before: list[str] = field(default_factory=list)
    produced: set[str] = field(default_factory=set)

    def leave(self, stage: str, version: str) -> None:
        if self.holders.get(stage) == version:
            del self.holders[stage]

    def take(self, stage: str, version: str) -> None:
        displaced = self.holders.get(stage)
        if displaced:
            self.standing[displaced] = "archived"
        self.holders[stage] = version
        self.standing[version] = stage
        if stage == PRODUCTION:
            self.produced.add(version)

    def promote(self, version: str, stage: str) -> None:
        if stage == PRODUCTION:
            self.leave(STAGING, version)
            if PRODUCTION in self.holders:
                self.before.append(self.holders[PRODUCTION])
        self.take(stage, version)

    def rollback(self, version: str) -> None:
        self.leave(STAGING, version)
        if version in self.before:
            last = len(self.before) - 1 - self.before[::-1].index(version)
            self.before = self.before[:last]
        elif PRODUCTION in self.holders:
            self.before.append(self.holders[PRODUCTION])
        self.take(PRODUCTION, version)

    def retire(self, version: str, standing: str) -> None:
        self.leave(STAGING, version)
        self.standing[version] = standing


def _always(draft: Draft, _: State) -> Draft:
    return draft


class HistoryMachine(RuleBasedStateMachine):
    @initialize(adopted=st.booleans())
    def begin(self, adopted: bool) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.clock = FixedClock()
        self.store = MemoryStore(self.folder / "runs", clock=self.clock)
        self.store.add_model("m")
        self.model = Model()
        self.deleted: set[str] = set()
        self.projected = True
        self.scrap = self.add()
        if adopted:
            version = self.add()
            self.store.set_alias("m", PRODUCTION, version)
            adopt(self.ledger())
            self.model.take(PRODUCTION, version)

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def ledger(self, store: Any = None) -> Ledger:
        return Ledger(store or self.store, "m", actor=Actor("one"), clock=self.clock)

    def add(self) -> str:
        self.clock.sleep(1)
        version = add_version(self.store, self.folder)
        self.model.standing[version] = "candidate"
        return version

    def pick(self, data: st.DataObject, *standings: str) -> str | None:
        fitting = [
            version
            for version, standing in self.model.standing.items()
            if standing in standings and version != self.scrap and version not in self.deleted
        ]
        return data.draw(st.sampled_from(sorted(fitting, key=int))) if fitting else None

    @rule()
    def register(self) -> None:
        self.add()

    @rule(data=st.data())
    def promote_to_staging(self, data: st.DataObject) -> None:
        version = self.pick(data, "candidate", "archived")
        if version:
            move(self.ledger(), version, STAGING)
            self.model.promote(version, STAGING)
            self.projected = True

    @rule(data=st.data(), at=st.integers(1, 25), after=st.booleans())
    def promote_to_staging_and_be_killed(self, data: st.DataObject, at: int, after: bool) -> None:
        version = self.pick(data, "candidate", "archived")
        if version:
            self.try_mortally(at, after, lambda ledger: move(ledger, version, STAGING))
            self.learn(lambda: self.model.promote(version, STAGING))

    @precondition(lambda self: STAGING in self.model.holders)
    @rule()
    def promote_to_production(self) -> None:
        version = self.model.holders[STAGING]
        if version not in self.deleted:
            move(self.ledger(), version, PRODUCTION)
            self.model.promote(version, PRODUCTION)
            self.projected = True

    @precondition(lambda self: STAGING in self.model.holders)
    @rule(at=st.integers(1, 25), after=st.booleans())
    def promote_to_production_and_be_killed(self, at: int, after: bool) -> None:
        version = self.model.holders[STAGING]
        if version in self.deleted:
            return
        allowed = {
            self.model.holders.get(PRODUCTION),
            version,
            self.store.get_model("m").aliases.get(PRODUCTION),
        }
        self.try_mortally(at, after, lambda ledger: move(ledger, version, PRODUCTION))
        assert self.get_alias() in allowed
        self.learn(lambda: self.model.promote(version, PRODUCTION))

    def get_alias(self) -> str | None:
        return self.store.get_model("m").aliases.get(PRODUCTION)

    def try_mortally(self, at: int, after: bool, act: Any) -> None:
        self.head = len(read_history(self.ledger())) if self.ledger().find() else 0
        with suppress(Killed):
            act(self.ledger(MortalStore(self.store, at=at, after=after, die=raise_killed)))
        self.projected = False

    def learn(self, act: Any) -> None:
        """The entry is the commit: it is there or it is not, whatever else was written."""
        found = self.ledger().find()
        entries = read_history(self.ledger())[self.head :] if found else ()
        if any(entry.action == "promote" for entry in entries):
            act()

    @rule()
    def roll_back(self) -> None:
        holder = self.model.holders.get(PRODUCTION)
        before = [
            version
            for version in self.model.before
            if version != holder and self.model.standing[version] != "rejected"
        ]
        if not before:
            with pytest.raises(OrderError):
                rollback(self.ledger())
        elif before[-1] in self.deleted:
            with pytest.raises(ArtifactError, match="was deleted"):
                rollback(self.ledger())
        else:
            assert rollback(self.ledger()).version == before[-1]
            self.model.rollback(before[-1])
        self.projected = True

    @rule(data=st.data())
    def roll_back_to(self, data: st.DataObject) -> None:
        known = sorted(self.model.produced - self.deleted - {self.model.holders.get(PRODUCTION, "")}, key=int)
        known = [version for version in known if self.model.standing[version] != "rejected"]
        if known:
            version = data.draw(st.sampled_from(known))
            rollback(self.ledger(), to_version=version)
            self.model.rollback(version)
            self.projected = True

    @rule(data=st.data())
    def archive_one(self, data: st.DataObject) -> None:
        version = self.pick(data, "candidate", STAGING, "archived")
        if version:
            archive(self.ledger(), version)
            self.model.retire(version, "archived")
            self.projected = True

    @rule(data=st.data())
    def reject_one(self, data: st.DataObject) -> None:
        version = self.pick(data, "candidate", STAGING, "archived")
        if version:
            speak(self.ledger(), "reject", version)
            self.model.retire(version, "rejected")
            self.projected = True

    @precondition(lambda self: self.model.holders)
    @rule(data=st.data(), alias=st.sampled_from([PRODUCTION, STAGING]))
    def set_an_alias_by_hand(self, data: st.DataObject, alias: str) -> None:
        present = [version.version for version in self.store.list_versions("m")]
        self.store.set_alias("m", alias, data.draw(st.sampled_from(present)))
        self.projected = False

    @rule(alias=st.sampled_from([PRODUCTION, STAGING]))
    def delete_an_alias_by_hand(self, alias: str) -> None:
        self.store.delete_alias("m", alias)
        self.projected = False

    @rule(data=st.data())
    def delete_a_version_by_hand(self, data: st.DataObject) -> None:
        version = self.pick(data, "archived", PRODUCTION, "candidate")
        if version and len(self.deleted) < 3:
            self.store.remove_version("m", version)
            self.deleted.add(version)
            self.projected = False

    @rule()
    def reconcile_it(self) -> None:
        before = self.ledger().find()
        reconcile(self.ledger())
        reconcile(self.ledger())
        if before and before.state.seq:
            self.projected = True

    @rule()
    def write_a_third_of_a_chapter(self) -> None:
        version = self.store.get_version("m", self.scrap)
        for _ in range(21):
            draft = Draft(
                action="archive", nonce=new_nonce(), version=self.scrap, created_ms=version.created_ms
            )
            self.ledger().append(partial(_always, draft))
        self.model.standing[self.scrap] = "archived"
        self.projected = False

    @invariant()
    def history_says_what_should_be(self) -> None:
        reading = self.ledger().find()
        if reading is None:
            assert self.model.holders == {}
            return
        state = reading.state
        assert {stage: held.version for stage, held in state.holders.items()} == self.model.holders
        for version in self.store.list_versions("m"):
            expected = self.model.standing[version.version]
            assert state.standing(version.version, version.created_ms) == expected, version.version
        assert [held.version for held in state.before] == self.model.before

    @invariant()
    def aliases_follow_once_projected(self) -> None:
        if self.projected and self.ledger().find():
            aliases = {
                stage: version for stage, version in self.model.holders.items() if version not in self.deleted
            }
            found = {
                stage: version
                for stage, version in self.store.get_model("m").aliases.items()
                if self.model.holders.get(stage) not in self.deleted
            }
            assert found == aliases

    @invariant()
    def nothing_looks_tampered_with(self) -> None:
        if self.ledger().find():
            assert audit(self.ledger(), artifacts=False).findings == ()


HistoryMachine.TestCase.settings = settings(
    max_examples=40,
    phases=[Phase.generate],
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestHistory = HistoryMachine.TestCase
