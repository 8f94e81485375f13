import os
import stat
from pathlib import Path

import pytest

from registry import UsageError, compute_manifest
from serving.cache import ModelCache, Pointer
from serving.holding import Target

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
