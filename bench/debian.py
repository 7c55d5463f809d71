"""Debian packages by apt: which versions there are, and their archives, checked by digest. Nothing is installed.

What guests and lab hosts are made of is of one release, SUITE, whatever this machine runs: of another release than the
machine's own, apt keeps its lists in the cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import files, home, locks, process
from bench.errors import CommandError, HostError, InputError

#: dpkg's names of packages and versions.
NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+\Z")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~:-]*\Z")
ROOM_HINT = "make room, or set XDG_CACHE_HOME to a folder on another disk"
_DOWNLOAD_LIMIT = 1800.0
_LISTS_LIMIT = 300.0
_UNPACK_LIMIT = 300.0
#: A packed root file system.
_LARGEST = 16 << 30
BOOTSTRAP_LIMIT = 3600.0
SUITE = "bookworm"
_APT = Path("/etc/apt")
_RELEASE = Path("/etc/os-release")
#: Seconds after which lists in the cache are fetched anew.
_LISTS_LAST = 3600.0
_PRIVATE = 0o600
_KEYRING = "debian-archive-keyring"
_COMMENT = re.compile(r"(?m)^\s*#.*$\n?")
#: What of the machine's own apt configuration a new system is fetched with: proxies and the like.
_APT_OPTIONS = re.compile(r"Acquire::(http|https|Retries|Check-Date|Check-Valid-Until)\b")


@dataclass(frozen=True)
class Package:
    """One version of a package as apt's lists have it. size in bytes and sha256 are those of its archive."""

    name: str
    version: str
    sha256: str
    size: int
    depends: str = ""

    def __str__(self) -> str:
        return f"{self.name}={self.version}"


def offered(names: Iterable[str], suite: str | None = None) -> list[Package]:
    """Every version of these packages that apt's lists know, the newest of each first. suite: a release of Debian; this
    machine's own lists by default. Raises HostError (no apt)."""
    names = list(names)
    if not names:
        return []
    # Unknown names are only what is missing from the answer.
    shown = process.run([*_apt("apt-cache", suite), "show", *names], check=False)
    found: dict[Package, None] = {}
    for stanza in shown.stdout.decode(errors="replace").split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", stanza, re.MULTILINE))
        if fields.get("Package") in names and "SHA256" in fields:
            found[
                Package(
                    fields["Package"],
                    fields["Version"],
                    fields["SHA256"],
                    int(fields["Size"]),
                    fields.get("Depends", ""),
                )
            ] = None
    return sorted(found, key=lambda package: names.index(package.name))  # stable: apt shows the newest first


def known(prefix: str, suite: str | None = None) -> list[str]:
    """The names of all packages in apt's lists that begin like this. suite: as for offered(). Raises HostError,
    CommandError."""
    listed = process.run([*_apt("apt-cache", suite), "pkgnames", prefix])
    return sorted(listed.stdout.decode().split())


def find(name: str, version: str | None = None, suite: str | None = None) -> Package:
    """The package of this name and version, or its newest version. suite: as for offered().

    Root's lists are renewed once where they do not know it. Raises InputError where there is no such package or
    version.
    """
    for renewed in (False, True):
        there = offered([name], suite)
        for package in there:
            if version in (None, package.version):
                return package
        if renewed or os.geteuid() != 0:
            break
        process.run([*_apt("apt-get", suite), "update"], timeout=_LISTS_LIMIT, check=False)
    if there:
        versions = ", ".join(package.version for package in there)
        raise InputError(f"Debian has no {name}={version}", hint=f"versions: {versions}")
    raise InputError(f"Debian has no package {name}", hint="./tare kernel list --remote shows which there are")


def download(package: Package, folder: Path) -> Path:
    """The package's archive, in `folder`. Raises HostError where it cannot be had or is not what the lists say."""
    try:
        process.run([process.require("apt-get", "apt"), "download", str(package)], cwd=folder, timeout=_DOWNLOAD_LIMIT)
    except CommandError as error:
        reasons = re.findall(r"^E: (.*)$", error.detail, re.MULTILINE) or [error.what]
        hint = ROOM_HINT if "No space left" in reasons[0] else "apt-get update renews the lists"
        raise HostError(f"{package} cannot be fetched: {reasons[0]}", hint=hint) from error
    (archive,) = folder.glob(f"{package.name}_*.deb")
    if digest(archive) != package.sha256:
        raise HostError(f"{package}: the archive that came is not the one in apt's lists", hint="fetch it again")
    return archive


def unpack(archive: Path, folder: Path) -> None:
    """A package's files, into a folder; nothing of it is run. Raises InputError where it is no package."""
    try:
        process.run([process.require("dpkg-deb", "dpkg"), "-x", archive, folder], timeout=_UNPACK_LIMIT)
    except CommandError as error:
        raise InputError(f"{archive.name} is no Debian package that can be unpacked: {error.what}") from error


def digest(file: Path, *, limit: int = _LARGEST) -> str:
    """SHA-256 of a file, in hex. Raises as files.opened()."""
    with files.opened(file, limit=limit) as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def owner(file: Path) -> dict[str, str]:
    """package and version of the installed package that a file is from; nothing where it is of none."""
    query = process.which("dpkg-query")
    if query is None:
        return {}
    name = process.run([query, "-S", file.resolve()], check=False).stdout.decode().partition(":")[0]
    if not NAME.match(name):
        return {}
    return {"package": name, "version": process.run([query, "-W", "-f", "${Version}", name]).stdout.decode()}


def require_bootstrap() -> None:
    """Raises HostError that names what bootstrap() lacks."""
    process.require("mmdebstrap", "mmdebstrap")
    dying_with_us()
    _sources(SUITE)


def bootstrap(
    target: Path, packages: Sequence[str], heard: Callable[[str], None], options: Sequence[str] = (), epoch: int = 0
) -> None:
    """A new system of SUITE's essential packages, apt and these: a folder, or an archive by its name's ending.

    heard: what is being done, in mmdebstrap's words; options: more of its own; epoch: a time for all files. Relative
    paths in options are of target's folder. Raises HostError (a tool or apt's sources are missing), CommandError.
    """
    told = process.run([process.require("apt-config", "apt"), "dump", "--no-empty", "--format", '%f "%v";%n'])
    argv: list[str | Path] = [
        *dying_with_us(),
        process.require("mmdebstrap", "mmdebstrap"),
        "--variant=minbase",
        f"--include={','.join(packages)}",
        *(f"--aptopt={line}" for line in told.stdout.decode().splitlines() if _APT_OPTIONS.match(line)),
        *options,
        SUITE,
        target.name,
        *(sources := _write(_sources(SUITE), target.parent)),
    ]
    env = {**os.environ, "PATH": os.environ.get("PATH", os.defpath) + ":" + process.EXTRA_PATH, "LC_ALL": "C.UTF-8"}
    if epoch:
        env["SOURCE_DATE_EPOCH"] = str(epoch)

    def line(text: str) -> None:
        if match := re.match(r"I: ((?!running |chroot |finding |skipping |success ).*?)(\.\.\.)?$", text):
            heard(match[1])

    try:
        process.follow(argv, line, timeout=BOOTSTRAP_LIMIT, env=env, cwd=target.parent, kept=40)
    finally:
        for file in sources:
            file.unlink(missing_ok=True)


def _apt(tool: str, suite: str | None) -> list[str | Path]:
    """One of apt's tools, with the lists of a release of Debian. Raises HostError, CommandError."""
    argv: list[str | Path] = [process.require(tool, "apt")]
    if suite in (None, _codename()):
        return argv
    assert suite
    texts = _sources(suite)
    with home.keeping():
        folder = home.cache() / "apt" / suite
        for name in ("lists/partial", "sources", "archives/partial"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        place = {
            "Etc::SourceList": "/dev/null",
            "Etc::SourceParts": folder / "sources",
            "State::Lists": folder / "lists",
        }
        place |= {"Cache": folder, "Cache::pkgcache": "", "Cache::srcpkgcache": ""}
        own = [word for key, value in place.items() for word in ("-o", f"Dir::{key}={value}")]
        own += ["-o", "APT::Sandbox::User=root"]  # who else reads this user's cache
        with (folder / ".lock").open("w") as lock:
            locks.wait(lock.fileno(), f"another tare that asks for the packages of {suite}", _quietly, _LISTS_LIMIT)
            _renew(folder, texts, own)
    return [*argv, *own]


def _quietly(text: str) -> None:
    """Nobody is told of so short a wait."""


def _renew(folder: Path, texts: Mapping[str, str], own: Sequence[str]) -> None:
    """Fetch another release's lists, where they are not there, old, or of other sources. Raises CommandError."""
    fetched, known = folder / "fetched", "\n".join(f"{name}\n{text}" for name, text in sorted(texts.items()))
    with contextlib.suppress(OSError):
        if fetched.read_text() == known and 0 <= time.time() - fetched.stat().st_mtime < _LISTS_LAST:
            return
    fetched.unlink(missing_ok=True)
    for old in (folder / "sources").iterdir():
        old.unlink()
    _write(texts, folder / "sources")
    update = [process.require("apt-get", "apt"), *own, "-o", "APT::Update::Error-Mode=any", "update"]
    process.run(update, timeout=_LISTS_LIMIT)
    files.write(fetched, known, mode=_PRIVATE)


def _codename() -> str | None:
    """Of this machine's release."""
    found = re.search(r"^VERSION_CODENAME=\"?([a-z]+)", files.read_text(_RELEASE) if _RELEASE.exists() else "", re.M)
    return found[1] if found else None


def _write(texts: Mapping[str, str], folder: Path) -> list[Path]:
    """Sources, which may have passwords in them, as files of a folder."""
    for name, text in texts.items():
        files.write(folder / name, text, mode=_PRIVATE)
    return [folder / name for name in texts]


def _sources(suite: str) -> dict[str, str]:
    """The machine's own apt sources: file name → text; for another release than its own, Debian's alone, of that one.

    Raises HostError where it has none.
    """
    own, found = _codename(), {}
    for path in [_APT / "sources.list", *sorted((_APT / "sources.list.d").glob("*"))]:
        if path.suffix not in (".list", ".sources") or not path.is_file():
            continue
        apart, text = ("\n\n" if path.suffix == ".sources" else "\n"), files.read_text(path)
        there = [_COMMENT.sub("", part).strip("\n") for part in text.split(apart)]
        if suite != own:
            there = [_of_release(part, own, suite) for part in there]
        if any(each.strip() for each in there):
            found[path.name] = apart.join(each for each in there if each.strip()) + "\n"
    if not found:
        of = "" if suite == own else f" of Debian's {own}" if own else " of Debian"
        hint = "it must be a Debian 12 or 13, whose sources name it by its codename or as stable or oldstable"
        raise HostError(f"this machine's apt has no sources{of} to make a system of {suite} from", hint=hint)
    return found


def _of_release(source: str, own: str | None, suite: str) -> str:
    """A line or stanza of sources, for another release of Debian; "" for what is not Debian's of this release."""
    keys = re.findall(r"signed-by[=:]\s*([^\s\]]+)", source, re.I)
    if own is None or re.search(r"^Enabled:\s*no\b", source, re.I | re.M) or any(_KEYRING not in key for key in keys):
        return ""
    line = re.match(r"(deb(?:-src)?\s+(?:\[[^\]]*\]\s+)?\S+\s+)(\S+)(.*)", source)
    parts = (line[1], line[2], line[3]) if line else re.split(r"(?im)^(Suites:.*)$", source, maxsplit=1)
    if len(parts) != 3:  # before, the suites, after
        return ""
    names = [_renamed(word, own, suite) for word in parts[1].removeprefix("Suites:").split()]
    kept = [name for name in names if name]
    return f"{parts[0]}{'' if line else 'Suites: '}{' '.join(kept)}{parts[2]}" if kept else ""


def _renamed(word: str, own: str, suite: str) -> str:
    """A suite of the machine's release as that of another one; "" for any other."""
    match = re.fullmatch(rf"(?:{own}|stable|oldstable)(-[a-z-]+)?", word)
    return f"{suite}{match[1] or ''}" if match else ""


def dying_with_us() -> list[str]:
    """Before a command: whatever ends this process also ends all that the command started, and its mounts.

    For who is not root, only the command itself.
    """
    setpriv, unshare = (process.require(tool, "util-linux") for tool in ("setpriv", "unshare"))
    dying = [setpriv, "--pdeathsig", "KILL"]
    if os.geteuid() == 0:
        dying += [unshare, "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    return dying
