"""Everything that can go wrong for a known reason, each worded where the fact is known.

The tree (exit code in brackets; see ``docs/reference/exit-codes.md``)::

    GreenroomError                 [1]  failed for a known reason
    ├── UsageError                 [2]  a command, job or policy is written wrongly
    ├── NotFoundError              [1]  the named thing does not exist
    ├── DataError                  [1]  the data cannot be used as asked
    ├── StoreError                 [1]  MLflow refused (permission, bad request)
    │   ├── AccessDeniedError      [1]  401, 403, wrong secret, missing bucket
    │   └── AlreadyExistsError     [1]  a name or a write-once key is taken
    ├── ArtifactError              [1]  a version's files cannot be used
    ├── OrderError                 [1]  the stage asked for does not follow from the present one
    ├── RefusedError               [3]  it worked, and the answer is no
    │   ├── TamperedError          [3]  history or artifact differ from what was recorded
    │   └── UntrustedError         [3]  the artifact would run code nobody vouched for
    ├── UnreachableError           [4]  no answer, or a temporary one: trying again may help
    └── ConflictError              [5]  somebody else moved first

Every class takes its values and words itself: what happened, which thing, what to do next.
"""

from typing import ClassVar

__all__ = [
    "AccessDeniedError",
    "AlreadyExistsError",
    "ArtifactError",
    "ConflictError",
    "DataError",
    "GreenroomError",
    "NotFoundError",
    "OrderError",
    "RefusedError",
    "StoreError",
    "TamperedError",
    "UnreachableError",
    "UntrustedError",
    "UsageError",
]


class GreenroomError(Exception):
    """Root of everything Greenroom raises on purpose.

    Args:
        what: One sentence: what happened, and to which thing.
        hint: What to do next, as a sentence or a command; may be empty.
    """

    code: ClassVar[str] = "failed"
    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, hint: str = "") -> None:
        self.what = what
        self.hint = hint
        super().__init__(f"{what} {hint}".strip())


class UsageError(GreenroomError):
    """A command line, job file or policy file is written wrongly."""

    code = "usage"
    exit_code = 2


class NotFoundError(GreenroomError):
    """The named model, version, run or file does not exist."""

    code = "not_found"


class DataError(GreenroomError):
    """The data cannot be used as asked: it is missing, empty, mistyped or gives the answer away."""

    code = "data"


class StoreError(GreenroomError):
    """MLflow answered, and refused."""

    code = "store"


class AccessDeniedError(StoreError):
    """A secret, token or permission is missing or wrong, or a bucket does not exist."""

    code = "access_denied"


class AlreadyExistsError(StoreError):
    """A name or a write-once key is taken by another value."""

    code = "already_exists"


class ArtifactError(GreenroomError):
    """A version's files are missing, incomplete, do not load or do not answer their own example."""

    code = "artifact"


class OrderError(GreenroomError):
    """The stage asked for does not follow from where the version is."""

    code = "order"


class RefusedError(GreenroomError):
    """It worked, and the answer is no."""

    code = "refused"
    exit_code = 3


class TamperedError(RefusedError):
    """History or artifact differ from what was recorded."""

    code = "tampered"


class UntrustedError(RefusedError):
    """The artifact would run code that nobody vouched for."""

    code = "untrusted"


class UnreachableError(GreenroomError):
    """No answer, or a temporary failure (timeout, 429, 5xx): trying again may help."""

    code = "unreachable"
    exit_code = 4


class ConflictError(GreenroomError):
    """Somebody else moved first."""

    code = "conflict"
    exit_code = 5
