"""What the REST door makes of the answers, silences and accidents of a server."""

import base64
import time
from collections.abc import Iterator
from itertools import chain, repeat

import pytest

from registry.environment import Access
from registry.errors import AccessDeniedError, GreenroomError, NotFoundError, StoreError, UnreachableError
from registry.stores.rest import RestStore
from tests.fixtures.reverse_proxy import Reply, Rule, Seen, StartProxy

MODEL = b'{"registered_model": {"name": "m", "creation_timestamp": 1}}'
FOUND = Reply(body=MODEL)


def _in_turn(*replies: Reply) -> Rule:
    turn: Iterator[Reply] = chain(replies, repeat(FOUND))
    return lambda _: next(turn)


def _always(reply: Reply) -> Rule:
    return lambda _: reply


def _refusal(status: int, code: str, message: str = "no") -> Reply:
    return Reply(status, f'{{"error_code": "{code}", "message": "{message}"}}'.encode())


# what may be repeated, and what may not


@pytest.mark.parametrize(
    "reply",
    [
        Reply(429, b"slow down"),
        Reply(500, b"oops"),
        Reply(502, b"<html>Bad Gateway</html>"),
        Reply(503, b""),
        _refusal(503, "TEMPORARILY_UNAVAILABLE"),
    ],
    ids=lambda reply: str(reply.status),
)
def test_a_read_is_repeated_after_a_temporary_failure(start_proxy: StartProxy, reply: Reply) -> None:
    proxy = start_proxy(_in_turn(reply, reply))
    assert RestStore(proxy.uri).get_model("m").name == "m"
    assert len(proxy.seen) == 3


def test_a_failure_that_lasts_is_told_after_a_few_attempts(start_proxy: StartProxy) -> None:
    proxy = start_proxy(_always(Reply(503, b"maintenance until noon")))
    with pytest.raises(UnreachableError, match="503: maintenance until noon"):
        RestStore(proxy.uri).get_model("m")
    assert len(proxy.seen) == 3


@pytest.mark.parametrize("status", [429, 503])
def test_a_creation_is_repeated_where_the_server_refused_to_look_at_it(
    start_proxy: StartProxy, status: int
) -> None:
    turn = iter([Reply(status), Reply(body=b'{"experiment_id": "7"}')])
    proxy = start_proxy(lambda _: next(turn))
    assert RestStore(proxy.uri).create_experiment("e", {}) == "7"
    assert len(proxy.seen) == 2


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_creation_is_never_repeated_where_it_may_have_been_done(
    start_proxy: StartProxy, status: int
) -> None:
    proxy = start_proxy(_always(Reply(status)))
    with pytest.raises(UnreachableError):
        RestStore(proxy.uri).create_run("1", "r", {})
    assert len(proxy.seen) == 1


def test_a_refusal_is_not_repeated(start_proxy: StartProxy) -> None:
    proxy = start_proxy(_always(_refusal(500, "INVALID_STATE", "Cannot rename a non-active experiment.")))
    with pytest.raises(StoreError, match="Cannot rename a non-active"):
        RestStore(proxy.uri).delete_experiment("7")
    assert len(proxy.seen) == 1


def test_a_busy_server_is_left_alone_as_long_as_it_asks(start_proxy: StartProxy) -> None:
    proxy = start_proxy(_in_turn(Reply(429, headers={"Retry-After": "1"})))
    started = time.monotonic()
    RestStore(proxy.uri).get_model("m")
    assert time.monotonic() - started >= 1.0


def test_a_server_that_asks_for_more_time_than_there_is_is_not_waited_for(start_proxy: StartProxy) -> None:
    proxy = start_proxy(_always(Reply(429, headers={"Retry-After": "3600"})))
    started = time.monotonic()
    with pytest.raises(UnreachableError):
        RestStore(proxy.uri, timeout_s=2.0).get_model("m")
    assert time.monotonic() - started < 2.0


# silence


def test_a_dead_server_is_unreachable_within_seconds_and_the_hint_names_the_variable(free_port: int) -> None:
    started = time.monotonic()
    with pytest.raises(UnreachableError) as caught:
        RestStore(f"http://127.0.0.1:{free_port}").get_model("m")
    assert time.monotonic() - started < 5.0
    assert f"http://127.0.0.1:{free_port}" in caught.value.what
    assert "MLFLOW_TRACKING_URI" in caught.value.hint


def test_a_dead_registry_is_blamed_on_its_own_variable(free_port: int, start_proxy: StartProxy) -> None:
    proxy = start_proxy(_always(FOUND))
    with pytest.raises(UnreachableError, match="MLFLOW_REGISTRY_URI"):
        RestStore(proxy.uri, f"http://127.0.0.1:{free_port}").get_model("m")


def test_a_host_that_does_not_exist_is_unreachable() -> None:
    with pytest.raises(UnreachableError):
        RestStore("http://mlflow.invalid:5000", timeout_s=2.0).get_model("m")


def test_a_server_that_does_not_answer_in_time_is_unreachable(start_proxy: StartProxy) -> None:
    proxy = start_proxy(_always(Reply(delay_s=1.5)))
    started = time.monotonic()
    with pytest.raises(UnreachableError):
        RestStore(proxy.uri, timeout_s=0.5).get_model("m")
    assert time.monotonic() - started < 1.4


def test_an_answer_cut_in_the_middle_is_asked_for_again(start_proxy: StartProxy) -> None:
    upstream = start_proxy(_always(FOUND))
    turn = iter([Reply(cut_at=10), None])
    proxy = start_proxy(lambda _: next(turn), upstream=upstream.uri)
    assert RestStore(proxy.uri).get_model("m").name == "m"


def test_a_connection_that_the_server_closed_meanwhile_is_not_noticed_by_the_caller(
    start_proxy: StartProxy,
) -> None:
    proxy = start_proxy(_in_turn(Reply(body=MODEL, headers={"Connection": "close"})))
    store = RestStore(proxy.uri)
    assert [store.get_model("m").name for _ in range(3)] == ["m"] * 3


# answers that are no answers


def test_another_site_is_no_mlflow_server(start_proxy: StartProxy) -> None:
    for reply in (
        Reply(404, b"<html>Not Found</html>"),
        Reply(200, b"<html>Log in</html>"),
        Reply(body=b"[]"),
    ):
        proxy = start_proxy(_always(reply))
        with pytest.raises(StoreError, match="is no MLflow server"):
            RestStore(proxy.uri).get_model("m")


def test_a_redirect_says_where_the_server_went(start_proxy: StartProxy) -> None:
    proxy = start_proxy(_always(Reply(307, headers={"Location": "https://mlflow.example/"})))
    with pytest.raises(StoreError, match=r"redirects to https://mlflow\.example/"):
        RestStore(proxy.uri).get_model("m")


def test_a_prefix_in_the_address_stays_before_every_path(start_proxy: StartProxy) -> None:
    proxy = start_proxy(_always(FOUND))
    RestStore(f"{proxy.uri}/team/ml/").get_model("a b&c")
    assert proxy.seen[0].path == "/team/ml/api/2.0/mlflow/registered-models/get?name=a+b%26c"


# credentials


def _guard(header: str) -> Rule:
    return lambda seen: None if seen.headers.get("authorization") == header else Reply(401, b"who are you?")


BASIC = f"Basic {base64.b64encode('ann:se:cré t'.encode()).decode()}"


@pytest.mark.parametrize(
    ("header", "access", "userinfo"),
    [
        (BASIC, Access(username="ann", password="se:cré t"), ""),
        (BASIC, Access(), "ann:se%3Acr%C3%A9%20t@"),
        (BASIC, Access(username="bob", password="other"), "ann:se%3Acr%C3%A9%20t@"),
        (BASIC, Access(username="ann", password="se:cré t", token="t0ken"), ""),
        ("Bearer t0ken", Access(token="t0ken"), ""),
        ("Bearer t0ken", Access(username="ann", token="t0ken"), ""),
    ],
    ids=["variables", "uri", "uri before variables", "password before token", "token", "no password"],
)
def test_the_right_credentials_open_the_door(
    start_proxy: StartProxy, header: str, access: Access, userinfo: str
) -> None:
    upstream = start_proxy(_always(FOUND))
    proxy = start_proxy(_guard(header), upstream=upstream.uri)
    store = RestStore(proxy.uri.replace("://", f"://{userinfo}"), access=access)
    assert store.get_model("m").name == "m"
    assert store.tracking_uri == proxy.uri


@pytest.mark.parametrize(
    ("access", "sentence"),
    [
        (Access(), "asks who you are .* Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
        (Access(username="ann"), "asks who you are"),
        (Access(username="ann", password="wrong"), "does not accept the password of user ann"),
        (Access(token="wrong"), "does not accept the token in MLFLOW_TRACKING_TOKEN"),
    ],
)
def test_a_401_says_what_is_missing(start_proxy: StartProxy, access: Access, sentence: str) -> None:
    proxy = start_proxy(_guard("Bearer right"))
    with pytest.raises(AccessDeniedError, match=sentence) as caught:
        RestStore(proxy.uri, access=access).get_model("m")
    assert "wrong" not in str(caught.value)
    assert len(proxy.seen) == 1


def test_a_403_says_who_may_not_do_what(start_proxy: StartProxy) -> None:
    proxy = start_proxy(_always(Reply(403, b"Permission denied")))
    store = RestStore(proxy.uri, access=Access(username="ann", password="x"))
    with pytest.raises(AccessDeniedError, match="User ann may not set alias production of model m"):
        store.set_alias("m", "production", "2")


def test_a_host_name_that_the_server_does_not_go_by_has_its_own_hint(start_proxy: StartProxy) -> None:
    body = b"Invalid Host header - possible DNS rebinding attack detected"
    proxy = start_proxy(_always(Reply(403, body)))
    with pytest.raises(AccessDeniedError, match="--allowed-hosts"):
        RestStore(proxy.uri).get_model("m")


def test_the_user_is_the_one_the_server_authenticated(start_proxy: StartProxy) -> None:
    proxy = start_proxy(
        _always(
            Reply(body=b'{"user": {"id": 1, "username": "ann", "is_admin": false}, "is_basic_auth": true}')
        )
    )
    assert RestStore(proxy.uri, access=Access(username="Ann", password="x")).get_user() == "ann"


@pytest.mark.parametrize(
    "reply", [Reply(404, b"<html>Not Found</html>"), Reply(200, b"<html>MLflow</html>"), Reply(body=b"{}")]
)
def test_nobody_is_authenticated_by_a_server_that_does_not_know_users(
    start_proxy: StartProxy, reply: Reply
) -> None:
    proxy = start_proxy(_always(reply))
    assert RestStore(proxy.uri, access=Access(username="ann", password="x")).get_user() is None
    assert RestStore(proxy.uri).get_user() is None


# errors keep their place in the tree


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (_refusal(404, "RESOURCE_DOES_NOT_EXIST"), NotFoundError),
        (_refusal(400, "INVALID_PARAMETER_VALUE"), StoreError),
        (_refusal(403, "PERMISSION_DENIED"), AccessDeniedError),
    ],
)
def test_a_refusal_has_its_class(start_proxy: StartProxy, reply: Reply, kind: type[GreenroomError]) -> None:
    with pytest.raises(kind):
        RestStore(start_proxy(_always(reply)).uri).get_model("m")


def test_a_write_that_was_lost_on_the_way_back_is_no_conflict_with_itself(start_proxy: StartProxy) -> None:
    """The param is there, MLflow says so in its own words, and only reading it back tells whose it is."""
    run = b'{"run": {"info": {"run_id": "r"}, "data": {"params": [{"key": "0001", "value": "mine"}]}}}'

    def answer(seen: Seen) -> Reply:
        return Reply(body=run) if seen.method == "GET" else _refusal(400, "INVALID_PARAMETER_VALUE")

    RestStore(start_proxy(answer).uri).log_param("r", "0001", "mine")
