import fcntl
import os
import stat
from pathlib import Path

import pytest

from registry import UsageError, compute_manifest
from serving.cache import ModelCache, Pointer, Record
from serving.target import Target

TARGET = Target("3", seq=7, since="2026-01-01T00:00:00.000Z", manifest="aa", run_id="r", created_ms=5)


@pytest.fixture
def cache(tmp_path: Path) -> ModelCache:
    return ModelCache(tmp_path / "cache")


def download(cache: ModelCache, text: str = "weights") -> tuple[Path, str]:
    with cache.incoming() as folder:
        folder.mkdir()
        (folder / "model.bin").write_text(text)
        manifest = compute_manifest(folder).digest
        return cache.keep(folder, manifest), manifest


def test_what_is_kept_is_found_by_its_manifest(cache: ModelCache) -> None:
    folder, manifest = download(cache)
    assert cache.find(manifest) == folder
    assert (folder / "model.bin").read_text() == "weights"


def test_what_was_never_kept_is_not_found(cache: ModelCache) -> None:
    assert cache.find("0" * 64) is None


def test_a_damaged_artifact_is_not_found_and_makes_place(cache: ModelCache) -> None:
    folder, manifest = download(cache)
    (folder / "model.bin").write_text("poison")
    assert cache.find(manifest) is None
    assert not folder.exists()
    assert download(cache) == (folder, manifest)


def test_an_artifact_with_one_file_more_is_damaged(cache: ModelCache) -> None:
    folder, manifest = download(cache)
    (folder / "sitecustomize.py").write_text("print('mine')")
    assert cache.find(manifest) is None


def test_an_artifact_whose_file_became_a_link_is_damaged(cache: ModelCache, tmp_path: Path) -> None:
    folder, manifest = download(cache)
    (tmp_path / "elsewhere").write_text("weights")
    (folder / "model.bin").unlink()
    (folder / "model.bin").symlink_to(tmp_path / "elsewhere")
    assert cache.find(manifest) is None


def test_the_second_of_two_servers_uses_what_the_first_kept(cache: ModelCache, tmp_path: Path) -> None:
    folder, manifest = download(cache)
    assert download(ModelCache(tmp_path / "cache")) == (folder, manifest)


def test_a_damaged_artifact_in_its_place_is_replaced(cache: ModelCache) -> None:
    folder, manifest = download(cache)
    (folder / "model.bin").write_text("poison")
    assert download(cache) == (folder, manifest)
    assert (folder / "model.bin").read_text() == "weights"


def test_a_download_that_was_given_up_leaves_nothing(cache: ModelCache, tmp_path: Path) -> None:
    with cache.incoming() as folder:
        folder.mkdir()
        (folder / "half").write_text("")
    assert list((tmp_path / "cache" / "incoming").iterdir()) == []


def test_an_abandoned_download_is_cleared_away_and_a_running_one_is_not(tmp_path: Path) -> None:
    incoming = tmp_path / "cache" / "incoming"
    ModelCache(tmp_path / "cache")
    for name in ("old", "new"):
        (incoming / name).mkdir()
    os.utime(incoming / "old", (0, 0))
    ModelCache(tmp_path / "cache")
    assert [path.name for path in incoming.iterdir()] == ["new"]


def test_a_pointer_comes_back_as_it_was_written(cache: ModelCache) -> None:
    cache.write_pointer("server", "m", "production", Pointer(TARGET, "aa"))
    assert cache.read_pointer("server", "m", "production") == Pointer(TARGET, "aa")


@pytest.mark.parametrize(
    "other", [("other", "m", "production"), ("server", "n", "production"), ("server", "m", "staging")]
)
def test_servers_models_and_stages_have_pointers_of_their_own(
    cache: ModelCache, other: tuple[str, str, str]
) -> None:
    cache.write_pointer("server", "m", "production", Pointer(TARGET, "aa"))
    assert cache.read_pointer(*other) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"target": {"colour": 1}, "manifest": "aa"}'])
def test_an_unreadable_pointer_is_no_pointer(cache: ModelCache, tmp_path: Path, text: str) -> None:
    cache.write_pointer("server", "m", "production", Pointer(TARGET, "aa"))
    (pointer,) = (tmp_path / "cache" / "current").iterdir()
    pointer.write_text(text)
    assert cache.read_pointer("server", "m", "production") is None


def test_nobody_else_can_look_into_the_cache(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o755)
    ModelCache(tmp_path / "cache")
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="GREENROOM_CACHE_DIR"):
        ModelCache(tmp_path / "file" / "cache")


def keep_plan(cache: ModelCache, manifest: str, text: str = "plan") -> Record:
    with cache.incoming() as out:
        out.mkdir()
        (out / "plan.json").write_text(text)
        return cache.keep_record(manifest, "runtime", Record("it equals", is_warm=True, is_trusted=True), out)


def test_a_record_comes_back_with_its_plan(cache: ModelCache) -> None:
    _, manifest = download(cache)
    kept = keep_plan(cache, manifest)
    assert kept.plan is not None
    assert (kept.plan / "plan.json").read_text() == "plan"
    assert cache.find_record(manifest, "runtime") == kept
    assert cache.find_record(manifest, "another runtime") is None
    without = cache.keep_record("b" * 64, "runtime", Record("no plan", is_warm=False, is_trusted=True), None)
    assert cache.find_record("b" * 64, "runtime") == without
    assert without.plan is None


def test_a_damaged_plan_is_not_found_and_makes_place(cache: ModelCache) -> None:
    _, manifest = download(cache)
    kept = keep_plan(cache, manifest)
    assert kept.plan is not None
    (kept.plan / "plan.json").write_text("poison")
    assert cache.find_record(manifest, "runtime") is None
    assert keep_plan(cache, manifest) == kept


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"plan": null, "colour": 1}'])
def test_an_unreadable_record_is_no_record(cache: ModelCache, tmp_path: Path, text: str) -> None:
    _, manifest = download(cache)
    keep_plan(cache, manifest)
    (record,) = (tmp_path / "cache" / "prepared").glob("*/record.json")
    record.write_text(text)
    assert cache.find_record(manifest, "runtime") is None


def test_of_two_servers_that_keep_a_record_the_second_uses_the_first_ones(
    cache: ModelCache, tmp_path: Path
) -> None:
    _, manifest = download(cache)
    first = keep_plan(cache, manifest)
    assert keep_plan(ModelCache(tmp_path / "cache"), manifest, "the same, made again") == first


def test_above_its_limit_what_was_not_used_for_longest_goes_and_what_is_pinned_stays(
    cache: ModelCache,
) -> None:
    folders = {}
    for age, text in enumerate(["served by another server", "old", "older", "just used"]):
        folder, manifest = download(cache, text * 100)
        folders[text] = (folder, manifest)
        os.utime(folder, (age, age) if text != "older" else (0.5, 0.5))
    cache.write_pointer(
        "elsewhere", "n", "staging", Pointer(TARGET, "x", (folders["served by another server"][1],))
    )
    folders["just used"][0].touch()
    assert cache.clear_up(2**20, fresh_s=60) == 0
    thrown_out = cache.clear_up(3700, fresh_s=60)
    assert not folders["older"][0].exists()
    assert thrown_out == 500
    cache.clear_up(0, fresh_s=60)
    left = {text for text, (folder, _) in folders.items() if folder.exists()}
    assert left == {"served by another server", "just used"}


def test_only_one_server_clears_up_at_a_time(cache: ModelCache, tmp_path: Path) -> None:
    folder, _ = download(cache)
    with (tmp_path / "cache" / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert cache.clear_up(0, fresh_s=0) == 0
        assert folder.exists()
    assert cache.clear_up(0, fresh_s=0) > 0
    assert not folder.exists()
