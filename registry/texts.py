"""What people read in MLflow's UI about a model and its versions: Markdown, in a block of its own."""

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from .ledger.entry import Entry
from .ledger.reading import Reading
from .names import PRODUCTION, STAGING
from .store import ModelVersion

__all__ = ["describe_model", "describe_version", "link_run", "link_version", "merge_block", "read_time"]

BLOCK: Final = "\n\n---\n**Greenroom**"
"""Starts our part of a description; everything before it is the user's and stays."""

DONE: Final = {
    "adopt": "adopted",
    "promote": "promoted",
    "rollback": "rolled back to",
    "archive": "archived",
    "approve": "approved",
    "reject": "rejected",
    "pending": "asked to move",
    "rogue": "put right",
    "rename": "renamed",
    "import": "imported",
}
"""What an action is called once it is done."""

MAX_DESCRIPTION: Final = 5_000
"""MLflow's columns are ``VARCHAR(5000)``: SQLite takes more, PostgreSQL refuses the whole description."""

MAX_WORDS: Final = 200
"""Characters of a reason shown in a description."""

SHOWN: Final = 5
"""Entries of the history shown in a description."""


def merge_block(description: str, block: str) -> str:
    """Puts our block behind the user's text, in place of an older one.

    >>> merge_block("My model.", BLOCK + " a").count("---"), merge_block(BLOCK + " a", BLOCK + " b")[-1]
    (1, 'b')
    """
    text = description.split(BLOCK, 1)[0].rstrip()
    lines = block.splitlines(keepends=True)
    while lines and len(text) + sum(map(len, lines)) > MAX_DESCRIPTION:
        lines.pop()
    return text + "".join(lines)


def describe_model(reading: Reading) -> str:
    """Who has which stage, and the newest entries, with links into the UI."""
    state, name = reading.state, reading.model.name
    lines = [BLOCK, ""]
    for stage in (PRODUCTION, STAGING):
        holder = state.holder(stage)
        text = f"{link_version(name, holder.version)} since {read_time(holder.since)}" if holder else "–"
        lines.append(f"- **{stage}**: {text}")
    lines += ["", "Newest entries of its [history]" + f"({_link_ledger(reading)}):", ""]
    lines += [f"- {describe_entry(reading, entry)}" for entry in _take_newest(reading.chapter.entries)]
    return "\n".join(lines)


def describe_version(reading: Reading, version: ModelVersion) -> str:
    """Where a version stands, and what was decided about it, with links to the evidence."""
    standing = reading.state.standing(version.version, version.created_ms)
    lines = [BLOCK, "", f"This version is **{standing}**."]
    about = [entry for entry in reading.chapter.entries if version.version in (entry.version, entry.was)]
    lines += ["", *(f"- {describe_entry(reading, entry)}" for entry in _take_newest(about))]
    return "\n".join(lines)


def describe_entry(reading: Reading, entry: Entry) -> str:
    """One line: when, who, what, why, and the evidence."""
    what = _name_look(entry) if entry.action == "reserve" else _name_act(entry)
    why = f": {escape(shorten(entry.reason))}" if entry.reason else ""
    link = (
        f" · [evidence]({link_run(reading.chapter.experiment_id, entry.evidence_run)})"
        if entry.evidence_run
        else ""
    )
    return f"{read_time(entry.time)}, {escape(entry.actor)}: {what}{why}{link}"


def _name_act(entry: Entry) -> str:
    what = DONE.get(entry.action, entry.action) + (f" version {entry.version}" if entry.version else "")
    if entry.stage:
        what += f" {'in' if entry.action == 'rollback' else 'to'} {entry.stage}"
    what += f" (was version {entry.was})" if entry.was else ""
    return f"{what}, which waits for a person's approval" if entry.action == "pending" else what


def _name_look(entry: Entry) -> str:
    """A look moves nothing: the version that has the stage is whom it is measured against."""
    against = f" against version {entry.was}" if entry.was else ""
    return f"looked at version {entry.version}{against} for {entry.stage}, attempt {entry.details['attempt']}"


def shorten(text: str) -> str:
    """The beginning of somebody's long words; the history has them whole."""
    return text if len(text) <= MAX_WORDS else f"{text[:MAX_WORDS].rstrip()} …"


def escape(text: str) -> str:
    r"""Somebody's words as they are, not as Markdown.

    >>> print(escape("see [x](y)"))
    see \[x\]\(y\)
    """
    return re.sub(r"([\\`*_{}\[\]()#<>|~!])", r"\\\1", " ".join(text.split()))


def read_time(moment: str) -> str:
    """A time as people read it, to the minute.

    >>> read_time("2026-03-01T12:00:00.005Z")
    '2026-03-01 12:00 UTC'
    """
    return f"{moment[:16].replace('T', ' ')} UTC"


def link_run(experiment_id: str, run_id: str) -> str:
    """A run's page, relative to the UI."""
    return f"#/experiments/{experiment_id}/runs/{run_id}"


def link_version(name: str, version: str) -> str:
    """A version's page, as a Markdown link."""
    return f"[version {version}](#/models/{quote(name, safe='')}/versions/{version})"


def _link_ledger(reading: Reading) -> str:
    return link_run(reading.chapter.experiment_id, reading.chapter.run_id)


def _take_newest(entries: Sequence[Entry]) -> list[Entry]:
    return list(reversed(entries))[:SHOWN]
