from pathlib import Path

import pytest

from registry import UsageError
from registry.policy import Policy, read_policy

FULL = """
confidence = 0.99
trust = "author"
allow_override = false
timeout_s = 60
signature = "compatible"
contract = true
[evaluation]
data = "rows.parquet"
target = "late"
group = "day"
task = "binary"
[metric]
name = "log_loss"
mode = "non_inferiority"
margin = 0.01
effect = 0.02
floor = 0.6
[slices]
columns = ["carrier"]
margin = 0.05
min_rows = 50
[calibration]
max_error = 0.05
[latency]
max_ratio = 1.5
max_ms = 5
batch_rows = 100
[approval]
required = true
four_eyes = true
[gates.cost]
late = 5
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "policy.toml"
    path.write_text(text)
    return path


def test_every_section_is_read_and_every_value_counts_in_the_digest(tmp_path: Path) -> None:
    policy = read_policy(write(tmp_path, FULL))
    assert (policy.metric.margin, policy.slices.columns, policy.gates) == (
        0.01,
        ("carrier",),
        {"cost": {"late": 5}},
    )
    assert policy.latency.is_asked
    assert policy.asks_rows
    digests = {policy.compute_digest(), Policy().compute_digest()}
    for line in FULL.strip().splitlines():
        if "=" in line and line not in ('mode = "non_inferiority"', "margin = 0.01"):
            digests.add(read_policy(write(tmp_path, FULL.replace(line + "\n", "", 1))).compute_digest())
    assert len(digests) == 2 + FULL.count("=") - 2


def test_the_order_in_which_settings_are_written_is_no_value(tmp_path: Path) -> None:
    """Evidence keeps a policy with its keys sorted; read back it must be the same one."""
    one = read_policy(write(tmp_path, "[gates.cost]\nmiss = 5\nalarm = 1\n[gates.age]\n"))
    two = read_policy(write(tmp_path, "[gates.age]\n[gates.cost]\nalarm = 1\nmiss = 5\n"))
    assert one.compute_digest() == two.compute_digest()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("confidense = 0.9", "there is no key 'confidense'. Did you mean 'confidence'?"),
        ("[metric]\nmargn = 1", "there is no key 'metric.margn'. Did you mean 'metric.margin'?"),
        ("[metric]\nmode = 'non_inferiority'", "metric: non_inferiority needs a margin"),
        ("[metric]\nmargin = 0.1", "metric: a margin needs mode"),
        ("[metric]\nname = 'auc'", "metric.name: input should be 'auto'"),
        ("confidence = 1.5", "confidence: input should be less than 1 (found 1.5)"),
        ("[latency]\nrepeats = 2", "latency.repeats: input should be greater than or equal to 5"),
        ("confidence = ", "is no TOML"),
    ],
)
def test_a_wrong_policy_is_refused_by_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as found:
        read_policy(write(tmp_path, text))
    assert "policy.toml" in str(found.value)
    assert said in str(found.value)


def test_a_policy_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_policy(tmp_path / "policy.toml")
