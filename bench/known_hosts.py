"""The host keys that files of OpenSSH's form vouch for, read line by line: see sshd(8), SSH_KNOWN_HOSTS FILE FORMAT.

A line that is not understood is nobody's, and no line keeps another one from counting. Host certificates are not
checked, so that a line of a certificate authority vouches for no key; a revoked key is refused whatever else is said.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from bench import files
from bench.errors import FileError

_LIMIT = 16 << 20
_HASHED = "|1|"

Verdict = Literal["known", "unknown", "another", "revoked", "authority"]


@dataclass(frozen=True)
class _Line:
    """marker: "", "@cert-authority" or "@revoked"; key: as it goes over the wire."""

    marker: str
    names: str
    kind: str
    key: bytes


class KnownHosts:
    """What all of some files say."""

    def __init__(self, paths: Iterable[Path]) -> None:
        """Files that are not there, or cannot be read, say nothing."""
        self._lines: list[_Line] = []
        for path in dict.fromkeys(paths):
            with contextlib.suppress(FileError):
                text = files.read(path, limit=_LIMIT).decode(errors="replace")
                self._lines += filter(None, map(_parse, text.splitlines()))

    def judge(self, name: str, key: bytes) -> Verdict:
        """What they say of the key of a host. name: "host", or "[host]:port" where that is another one than 22.

        "another": other keys are known of it; "authority": only certificates vouch for it, which are not checked.
        """
        anywhere = {name, name.removeprefix("[").partition("]:")[0]}
        revoked = (line.names for line in self._lines if line.marker == "@revoked" and line.key == key)
        if any(_is_about(names, each) for names in revoked for each in anywhere):
            return "revoked"
        about = [line for line in self._lines if _is_about(line.names, name)]
        keys = [line.key for line in about if not line.marker]
        if key in keys:
            return "known"
        if keys:
            return "another"
        return "authority" if any(line.marker == "@cert-authority" for line in about) else "unknown"

    def kinds(self, name: str) -> list[str]:
        """The kinds of the keys that are known of a host, like ssh-ed25519."""
        return list(dict.fromkeys(line.kind for line in self._lines if not line.marker and _is_about(line.names, name)))


def _parse(line: str) -> _Line | None:
    words = line.split()
    marker = words.pop(0) if words and words[0].startswith("@") else ""
    if len(words) < 3 or words[0].startswith("#") or marker not in ("", "@cert-authority", "@revoked"):
        return None
    names, kind, text = words[:3]
    try:
        key = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return None
    # The key says itself of which kind it is.
    length = int.from_bytes(key[:4])
    return _Line(marker, names, kind, key) if key[4 : 4 + length] == kind.encode(errors="replace") else None


def _is_about(names: str, host: str) -> bool:
    """Whether a line's patterns match a host's name; a pattern after "!" takes out what others match."""
    host = host.lower()
    if names.startswith(_HASHED):
        return _is_hash_of(names, host)
    matched = False
    for pattern in names.lower().split(","):
        if _pattern(pattern.removeprefix("!")).match(host):
            if pattern.startswith("!"):
                return False
            matched = True
    return matched


def _is_hash_of(hashed: str, host: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in hashed.removeprefix(_HASHED).split("|"))
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(hmac.digest(salt, host.encode(), hashlib.sha1), digest)


@cache
def _pattern(text: str) -> re.Pattern[str]:
    """Only * and ? mean more than themselves."""
    parts = (".*" if part == "*" else "." if part == "?" else re.escape(part) for part in re.split(r"(\*|\?)", text))
    return re.compile("".join(parts) + r"\Z", re.DOTALL)
