"""One round of watching: which windows are new, what they show, what is written down, what is done."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from registry import PRODUCTION, Holding, Ledger, ModelVersion, NotFoundError, UnreachableError, read_status

from .acting import act
from .diary import Alarm, Diary
from .findings import Finding, FindingKind, Series
from .judging import (
    Baseline,
    VersionLook,
    find_baseline,
    judge_drift,
    judge_quality,
    look_at_versions,
    measure_scores,
    pool,
)
from .outcomes import read_answers
from .reference import Reference, ReferenceRequest, find_reference
from .report import Report, WindowLook
from .supply import Supply, Watch

__all__ = ["Monitor"]

SHOWN: Final = 60
"""Earlier findings that are shown beside the new ones."""

ACTION: Final = "greenroom.action"
KINDS: Final[tuple[FindingKind, ...]] = ("drift", "quality")


class Monitor:
    """Watches one model; rounds share the reference as long as the version is the same.

    Args:
        ledger: The model's history.
        watch: What is to be watched.
        keep: Writes a report into a run: report, experiment id → run id. Handed in, since it draws.
        drop: Removes such a run again.
        progress: Told what is going on.
    """

    def __init__(
        self,
        ledger: Ledger,
        watch: Watch,
        *,
        keep: Callable[[Report, str], str],
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._ledger = ledger
        self._watch = watch
        self._keep = keep
        self._progress = progress
        self._diary = Diary(ledger.store, ledger.name, ledger.experiment_name, ledger.clock)
        self._reference: tuple[str, Reference] | None = None

    def look(self) -> Report:
        """One round.

        Raises:
            NotFoundError: There is no such model, version, or nobody has the stage.
            UnreachableError: MLflow or the log gives no answer.
            DataError: The reference cannot be used.
        """
        version, holder = self._find_version()
        reference = self._find_reference(version)
        name = self._name_series(version, reference)
        taken_up = () if self._watch.dry_run else tuple(self._take_up(name, version.version, holder))
        looks_again = self._watch.dry_run and self._watch.since is not None
        series = Series() if looks_again else self._diary.read().get(name)
        looks, findings, baseline = self._look_at_windows(version, holder, reference, series)
        report = Report(
            dry_run=self._watch.dry_run,
            model=self._ledger.name,
            version=version.version,
            origin=reference.origin,
            grouping=reference.grouping.text,
            min_effect=self._watch.policy.monitor.min_effect,
            reference_scores=measure_scores(reference.answers, reference.task),
            baseline=baseline,
            windows=tuple(looks),
            versions=_pool_versions(looks),
            earlier=tuple(self._diary.list_findings(name, SHOWN)),
            series=series,
            standing=(),
            alarms=taken_up,
            notes=tuple(_list_notes(self._watch, reference, looks)),
        )
        if self._watch.dry_run:
            return self._preview(report, findings)
        return self._write_down(report, findings, name, holder)

    def _find_version(self) -> tuple[ModelVersion, Holding | None]:
        holders = read_status(self._ledger).holders
        wanted = self._watch.version
        holder = holders.get(self._watch.stage)
        if wanted is None:
            if holder is None:
                raise NotFoundError(
                    f"{self._ledger.name} has no version in {self._watch.stage}.",
                    hint="Name one: --version N",
                )
            wanted = holder.version
        version = self._ledger.store.get_version(self._ledger.name, wanted)
        production = holders.get(PRODUCTION)
        return version, production if production and production.version == wanted else None

    def _find_reference(self, version: ModelVersion) -> Reference:
        key = f"{version.version}.{version.created_ms}"
        if self._reference is None or self._reference[0] != key:
            self._progress("reading the reference")
            watch = self._watch
            request = ReferenceRequest(watch.reference, watch.log, self._ledger.name, version, watch.group)
            self._reference = key, find_reference(self._ledger.store, request)
        return self._reference[1]

    def _name_series(self, version: ModelVersion, reference: Reference) -> str:
        """Windows that are judged by other rules are another series."""
        rules = self._watch.policy.monitor.model_dump(
            mode="json", exclude={"windows", "on_drift", "on_quality"}
        )
        what: list[Any] = [
            self._watch.span.text,
            reference.digest,
            reference.grouping.text,
            rules,
            _name_log(self._watch.log),
        ]
        what += [version.created_ms, self._watch.policy.metric.model_dump(mode="json")]
        return f"{version.version}/{hashlib.sha256(json.dumps(what).encode()).hexdigest()[:12]}"

    def _look_at_windows(
        self, version: ModelVersion, holder: Holding | None, reference: Reference, series: Series
    ) -> tuple[list[WindowLook], list[Finding], Baseline | None]:
        looks: list[WindowLook] = []
        findings: list[Finding] = []
        baseline: Baseline | None = None
        policy = self._watch.policy
        supply = Supply(
            self._watch, self._ledger.name, version, holder, self._ledger.clock.now(), self._progress
        )
        for window, is_new, table in supply.read_windows(series):
            self._progress(f"judging {window.text}")
            if baseline is None and len(table.meta):
                answers = read_answers(table.outputs, reference.task)
                baseline = find_baseline(reference, answers, policy.metric, policy.monitor.margin)
            drift, finding = None, None
            if is_new:
                drift, finding = judge_drift(reference, table, version.version, window, policy.monitor)
                findings.append(finding)
            versions = look_at_versions(reference, baseline, table) if baseline else ()
            own = table.outputs[(table.meta["version"] == version.version).to_numpy()]
            scores = measure_scores(read_answers(own, reference.task), reference.task)
            looks.append(WindowLook(window, drift, finding, None, versions, scores))
        if baseline is None:
            return looks, findings, None
        judged = self._judge_qualities(looks, version.version, baseline)
        findings += [look.quality for look in judged if look.quality]
        return judged, findings, baseline

    def _judge_qualities(
        self, looks: Sequence[WindowLook], version: str, baseline: Baseline
    ) -> list[WindowLook]:
        """In order: once a later window's truth is known, an earlier one's is not awaited any more."""
        judged: list[WindowLook] = []
        is_last_call = False
        for look in reversed(looks):
            own = next((one for one in look.versions if one.version == version), None)
            found = judge_quality(
                baseline, own, look.window, self._watch.policy.monitor, is_last_call=is_last_call
            )
            is_last_call = is_last_call or found is not None
            judged.append(replace(look, quality=found))
        return judged[::-1]

    # what is written down

    def _preview(self, report: Report, findings: Sequence[Finding]) -> Report:
        """What would stand, and what would be raised, without writing anything."""
        series, needed, notes = report.series, self._watch.policy.monitor.windows, list(report.notes)
        for finding in findings:
            series = series.step(finding)
            ripe = series.get_streak(finding.kind).list_ripe(needed)
            if ripe:
                series = series.alarm(finding.kind)
                notes.append(f"would be an alarm: {finding.kind}, {', '.join(ripe)}, up to {finding.until}")
        return replace(report, series=series, standing=_list_standing(series), notes=tuple(notes))

    def _write_down(
        self, report: Report, findings: Sequence[Finding], name: str, holder: Holding | None
    ) -> Report:
        if not findings:
            return replace(report, standing=_list_standing(report.series))
        experiment_id = self._diary.begin()
        preview = self._preview(report, findings)
        self._progress("writing it down")
        run_id = self._keep(preview, experiment_id)
        alarms = list(report.alarms)
        won = 0
        for finding in findings:
            if not self._diary.record(name, finding, run_id):
                continue
            won += 1
            alarms += self._raise(name, finding.kind, report.version, holder)
        series = self._diary.read().get(name)
        if not won:  # another monitor judged these very windows
            self._ledger.store.delete_run(run_id)
        return replace(
            report,
            series=series,
            standing=_list_standing(series),
            alarms=tuple(alarms),
            run_id=run_id if won else None,
            experiment_id=experiment_id,
        )

    def _raise(
        self, name: str, kind: FindingKind, version: str, holder: Holding | None
    ) -> Iterator[tuple[Alarm, str]]:
        """The alarm that is due, if any, with what was done about it."""
        policy = self._watch.policy.monitor
        alarm = self._diary.raise_alarm(
            name,
            kind,
            policy.windows,
            version=version,
            holder_seq=holder.seq if holder else 0,
            action=policy.on_drift if kind == "drift" else policy.on_quality,
        )
        if alarm is not None:
            yield alarm, self._do(alarm)

    def _do(self, alarm: Alarm) -> str:
        """Acts, and closes the alarm; where MLflow gives no answer it stays open for the next round."""
        try:
            outcome = act(self._ledger, alarm)
            if self._diary.settle(alarm, outcome):
                self._tell(alarm.run_id, f"{alarm.kind}: {outcome}")
        except UnreachableError as error:
            return f"not done yet: {error}"
        return outcome

    def _tell(self, run_id: str, outcome: str) -> None:
        """On the run, beside what was done about another alarm that it shows."""
        told = self._ledger.store.get_run(run_id).tags.get(ACTION)
        self._ledger.store.set_run_tag(run_id, ACTION, f"{told}; {outcome}" if told else outcome)

    def _take_up(self, name: str, version: str, holder: Holding | None) -> Iterator[tuple[Alarm, str]]:
        """What a monitor that died, or met no answer, left undone: deeds, and an alarm that was due."""
        state = self._diary.read()
        for alarm in state.open.values():
            yield alarm, self._do(alarm)
        for kind in KINDS:
            if state.get(name).get_streak(kind).list_ripe(self._watch.policy.monitor.windows):
                yield from self._raise(name, kind, version, holder)


def _name_log(log: str) -> str:
    """One name for a folder, from wherever it is looked at."""
    return log if "://" in log else str(Path(log).expanduser().absolute())


def _list_standing(series: Series) -> tuple[FindingKind, ...]:
    return tuple(kind for kind in KINDS if series.get_streak(kind).stands)


def _pool_versions(looks: Sequence[WindowLook]) -> tuple[VersionLook, ...]:
    found: dict[str, list[VersionLook]] = {}
    for look in looks:
        for version in look.versions:
            found.setdefault(version.version, []).append(version)
    return tuple(pool(parts) for parts in found.values())


def _list_notes(watch: Watch, reference: Reference, looks: Sequence[WindowLook]) -> Iterator[str]:
    if reference.grouping.kind == "none":
        yield (
            "every prediction counts as independent of the others; where they are not (one customer, one "
            "day's weather), say so: --group"
        )
    if not len(reference.answers.columns):
        yield "the reference has no answers: neither scores nor quality are compared with it"
    if not looks:
        yield f"no window of {watch.span.text} is new and over"
    for look in looks[-1:]:
        skipped = look.drift.skipped if look.drift else {}
        yield from (f"{name} is not compared: {why}" for name, why in skipped.items())
        for version in look.versions:
            yield from (f"version {version.version}: {warning}" for warning in version.coverage.warnings)
