"""Greenroom itself as a wheel, made from what is installed here, so that an image needs no index for it.

Source: the binary distribution format (PEP 427), recorded hashes (PEP 376).
"""

import base64
import hashlib
import importlib.metadata
import importlib.util
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["write_wheel"]

DISTRIBUTION: Final = "greenroom"
PACKAGES: Final = ("registry", "serving", "training")
LEFT_OUT: Final = frozenset({"__pycache__"})
EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The oldest time that a zip file knows: the same files make the same wheel."""

WHEEL: Final = "Wheel-Version: 1.0\nGenerator: greenroom\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def write_wheel(folder: Path) -> Path:
    """Writes the wheel into a folder, and returns its path."""
    distribution = importlib.metadata.distribution(DISTRIBUTION)
    stem = f"{DISTRIBUTION}-{distribution.version}"
    path = folder / f"{stem}-py3-none-any.whl"
    info = f"{stem}.dist-info"
    members = dict(_list_sources())
    members[f"{info}/METADATA"] = _clean_metadata(distribution.read_text("METADATA") or "").encode()
    members[f"{info}/entry_points.txt"] = (distribution.read_text("entry_points.txt") or "").encode()
    members[f"{info}/licenses/LICENSE"] = (distribution.read_text("licenses/LICENSE") or "").encode()
    members[f"{info}/WHEEL"] = WHEEL.encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in members.items():
            _add(wheel, name, content)
        _add(wheel, f"{info}/RECORD", _write_record(members, f"{info}/RECORD"))
    return path


def _clean_metadata(text: str) -> str:
    """Without what an editable install asks for besides."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("Requires-Dist: editables"))


def _list_sources() -> Iterator[tuple[str, bytes]]:
    for package in PACKAGES:
        found = importlib.util.find_spec(package)
        assert found is not None
        assert found.origin is not None
        root = Path(found.origin).parent
        for path in sorted(root.rglob("*")):
            if path.is_file() and not LEFT_OUT.intersection(path.parts):
                yield f"{package}/{path.relative_to(root).as_posix()}", path.read_bytes()


def _add(wheel: zipfile.ZipFile, name: str, content: bytes) -> None:
    member = zipfile.ZipInfo(name, EPOCH)
    member.external_attr = 0o644 << 16
    wheel.writestr(member, content, zipfile.ZIP_DEFLATED)


def _write_record(members: dict[str, bytes], own: str) -> bytes:
    lines = []
    for name, content in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}")
    return "\n".join([*lines, f"{own},,", ""]).encode()
