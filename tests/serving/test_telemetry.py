from prometheus_client.parser import text_string_to_metric_families

from serving.counting import Counts, add_up
from serving.telemetry import Telemetry


def count(*durations_s: float, in_flight: int = 0) -> Counts:
    counts = Counts(in_flight=in_flight)
    for duration_s in durations_s:
        counts.count_request("1", "compiled", 200, duration_s)
    counts.count_batch("1", len(durations_s))
    return counts


def test_what_workers_counted_adds_up() -> None:
    sums = add_up([count(0.001, 0.2, in_flight=1).dump(3), count(100.0, in_flight=2).dump(1)])
    assert (sums.in_flight, sums.waiting) == (3, 4)
    assert sums.requests == {("1", "compiled", 200): 3}
    durations = sums.durations["1", "compiled"]
    assert (sum(durations.buckets), durations.buckets[-1]) == (3, 1)
    assert abs(durations.total - 100.201) < 1e-9
    assert sums.batches["1",].total == 3


def test_a_duration_on_a_bound_belongs_to_its_bucket() -> None:
    telemetry = Telemetry("m")
    telemetry.note("a", count(0.001).dump(0))
    text = telemetry.render().decode()
    labels = 'model="m",path="compiled",version="1"'
    assert f'greenroom_request_duration_seconds_bucket{{{labels},le="0.001"}} 1.0' in text
    assert f'greenroom_request_duration_seconds_bucket{{{labels},le="0.0005"}} 0.0' in text


def test_the_text_is_prometheus_own_format_whatever_the_names_hold() -> None:
    telemetry = Telemetry('a "strange" \\ model\n')
    telemetry.note("a", count(0.1).dump(0))
    telemetry.count_swap("1", "compiled")
    telemetry.count_refusal("2", "tampered")
    telemetry.count_restart("worker")
    telemetry.set_degraded(True)
    families = {family.name: family for family in text_string_to_metric_families(telemetry.render().decode())}
    assert families["greenroom_requests"].samples[0].labels["model"] == 'a "strange" \\ model\n'
    assert families["greenroom_degraded"].samples[0].value == 1.0
    assert {"greenroom_swaps", "greenroom_refusals", "greenroom_restarts"} <= set(families)
    assert families["greenroom_request_duration_seconds"].type == "histogram"


def test_a_worker_that_ended_keeps_its_counts_and_has_nothing_in_flight() -> None:
    telemetry = Telemetry("m")
    telemetry.note("first", count(0.1, in_flight=5).dump(2))
    telemetry.bury("first")
    telemetry.note("second", count(0.1).dump(0))
    text = telemetry.render().decode()
    assert 'greenroom_requests_total{model="m",path="compiled",status="200",version="1"} 2.0' in text
    assert 'greenroom_requests_in_flight{model="m"} 0.0' in text
    assert 'greenroom_requests_waiting{model="m"} 0.0' in text


def test_what_became_of_the_log_adds_up_over_workers_and_is_only_told_where_there_is_one() -> None:
    telemetry = Telemetry("m", "s3://logs")
    for name, problem in (("first", "full"), ("second", "")):
        counts = count(0.1)
        counts.log.logged, counts.log.feedback, counts.log.problem = 5, 2, problem
        counts.log.lost["sink"] += 3
        telemetry.note(name, counts.dump(0))
    told = {"log": "s3://logs", "logged": 10, "feedback": 4, "lost": {"sink": 6}, "problem": "full"}
    assert telemetry.describe_log() == told
    text = telemetry.render().decode()
    assert 'greenroom_predictions_logged_total{model="m"} 10.0' in text
    assert 'greenroom_predictions_lost_total{model="m",reason="sink"} 6.0' in text
    assert 'greenroom_predictions_lost_total{model="m",reason="crash"} 0.0' in text
    telemetry.bury("first")  # what it could not write is nobody's problem any more
    assert telemetry.describe_log() == {**told, "problem": None}
    assert Telemetry("m").describe_log() is None
    assert b"logged" not in Telemetry("m").render()
