"""Digests: short names for contents, equal where the contents are."""

import hashlib
import json
from pathlib import Path
from typing import Any


def fingerprint(content: Any) -> str:
    """16 hexadecimal digits of the SHA-256 of anything JSON can say."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """16 hexadecimal digits of the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
