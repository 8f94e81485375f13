import hashlib
import re

from tests.house.street import REFERENCE, ROOMS, ROOT, list_documents, list_modules
from training.composing import compose_layers

MAX_LINES = 400


def test_no_file_is_longer_than_a_person_reads_at_once() -> None:
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in list_modules()
        if (lines := len(path.read_text("utf-8").splitlines())) > MAX_LINES
    }
    assert long == {}


def test_every_module_says_what_it_is_for() -> None:
    mute = [path for path in list_modules() if not path.read_text("utf-8").startswith(('"""', 'r"""'))]
    assert mute == []


def test_tests_are_no_packages() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_the_lock_holds_names_versions_and_hashes_and_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    assert "://" not in lock
    assert not re.search(r"^\s*(-i|--index-url|--extra-index-url|--find-links|-f)\b", lock, re.MULTILINE)
    pins = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]
    assert [pin for pin in pins if not re.match(r"[A-Za-z0-9._-]+==[^ ]+ (;.*)?\\$", pin)] == []


def test_the_layers_file_of_this_version_is_on_the_trusted_list() -> None:
    digest = hashlib.sha256(compose_layers().encode()).hexdigest()
    assert digest in (ROOT / "registry" / "trusted_layers.txt").read_text("ascii").split()


def test_the_environment_is_read_at_its_door_only() -> None:
    """``verification`` hands on a fixed list to a process without credentials; ``scoring`` tells MLflow.

    ``nursery`` gives a judged model a home of its own. ``artifact`` travels without us.
    """
    doors = {
        "registry/environment.py",
        "registry/nursery.py",
        "registry/verification.py",
        "serving/scoring.py",
        "training/artifact/contract.py",
        "training/artifact/layers.py",
    }
    readers = {
        path.relative_to(ROOT).as_posix()
        for path in list_modules()
        if re.search(r"\bos\.(environ|getenv)\b", path.read_text("utf-8"))
    }
    assert readers <= doors


def test_nothing_of_ours_that_travels_in_a_model_imports_us() -> None:
    travels = list((ROOT / "training" / "artifact").glob("*.py"))
    assert travels
    pattern = re.compile(rf"^\s*(from|import) ({'|'.join(ROOMS)})\b", re.MULTILINE)
    assert [path for path in travels if pattern.search(path.read_text("utf-8"))] == []


def test_the_licence_is_the_whole_apache_2() -> None:
    licence = (ROOT / "LICENSE").read_text("utf-8")
    assert "Version 2.0, January 2004" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
    assert "9. Accepting Warranty or Additional Liability" in licence


def test_documents_name_no_path_of_the_machine_they_were_written_on() -> None:
    strange = re.compile(re.escape(f"{ROOT}/"))
    found = {
        path.relative_to(ROOT).as_posix(): match.group()
        for path in [*list_documents(), ROOT / ".ci" / "run", ROOT / "Makefile"]
        if (match := strange.search(path.read_text("utf-8")))
    }
    assert found == {}


def test_every_reference_page_is_on_the_index() -> None:
    index = (REFERENCE.parent / "README.md").read_text("utf-8")
    pages = [path.relative_to(REFERENCE.parent).as_posix() for path in REFERENCE.parent.rglob("*.md")]
    assert [page for page in pages if page != "README.md" and f"({page})" not in index] == []
