"""A campaign's end on the host: takes the host, keeps its workers, and does what it is asked, line by line.

It runs where slots run, as `python3 FILE agent FOLDER` (see bench.bundle), and speaks JSON, one object a line: a
request {"id": NUMBER, "do": NAME, …} on its standard input, {"to": NUMBER, "ok": …} or {"to": NUMBER, "error": …} on
its standard output. An empty line is a heartbeat, and is answered by one. Whoever asks and is not heard of any more has
everything here taken down.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import re
import select
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from bench import clean, facts, image, kexec, limits, lines, lock, stalls, state
from bench.backends.base import GuestKernel
from bench.crew import Crew
from bench.errors import HostError, TareError

#: Seconds between heartbeats, and those without one after which the other end is taken for lost.
BEAT = 10.0
SILENCE = 45.0
#: Seconds between heartbeats while all is taken down, and those without one after which nobody waits for it any more.
_END_BEAT = 2.0
END_SILENCE = 10.0
#: Bytes of a request.
_LONGEST = 32 << 20
_TAKEOVER_LIMIT = 40.0
#: Characters of an error that are told.
_TOLD = 10_000
#: An emulated machine is slower by an order of magnitude.
_EMULATED_PATIENCE = 8.0
#: Lies in the folder of Tare's files from the moment on in which Tare made it, and in no other: what is in it says so.
MARK = ".tare-files"
MARKED = "Tare made this folder, for files that it sends to this host. `tare clean --host` removes them.\n"
#: What Tare puts there: files under the SHA-256 of their content, also where one was cut short, the code out of one, as
#: bench.bundle unpacks it, and these folders.
_SENT = re.compile(r"[0-9a-f]{64}(\.[0-9a-f]{1,16})?(\.part)?\Z")
_CODE = re.compile(r"[0-9a-f]{64}\.code(\.[a-z0-9_]+(\.damaged)?)?\Z")
_FOLDERS = ("rootfs", "tare")


class Interrupted(BaseException):
    """Nobody listens any more, or SIGTERM: take everything down."""

    held: ClassVar[bool] = False


class _Requests(threading.Thread):
    """Reads requests as they come, answers heartbeats, and interrupts us when there will be none.

    last: the number of the last request; whoever asks waits for its answer before the next one.
    """

    def __init__(self, source: int, beat: Callable[[], None]) -> None:
        super().__init__(name="requests", daemon=True)
        self._source = source
        self._beat = beat
        self.queue: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.last = 0

    def run(self) -> None:
        try:
            with contextlib.suppress(OSError, ValueError, RecursionError):
                for line in lines.split(self._parts(), _LONGEST):
                    if line:
                        request = json.loads(line)
                        self.last = request["id"]
                        self.queue.put(request)
                    else:
                        self._beat()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
        while True:
            self._beat()
            time.sleep(_END_BEAT)

    def _parts(self) -> Iterator[bytes]:
        """What comes, until there is an end or silence."""
        while select.select([self._source], [], [], SILENCE)[0]:
            if not (data := os.read(self._source, 1 << 20)):
                return
            yield data


class Agent:
    """A held host. folder: where the controller puts files, by the SHA-256 of their content."""

    def __init__(self, own: state.Run, folder: Path, name: str, emulated: bool) -> None:
        self._own = own
        self._folder = folder
        self._label = {"name": name, "emulated": emulated}
        self._crew: Crew | None = None

    def do(self, request: Mapping[str, Any]) -> Any:
        """The answer to one request. Raises TareError."""
        what = request["do"]
        if what == "crew":
            return self._set_up(request)
        if what == "kernels":
            kexec.require()
            return [release for release in request["releases"] if kexec.own(release)]
        if what == "load":
            return self._load(request)
        crew = self._crew
        assert crew, "a crew is asked for first"
        if what == "probe":
            return {"reason": crew.probe(request["arm"], request["guest"])}
        if what == "lacking":
            return crew.lacking(request["arms"])
        if what == "slot":
            return crew.slot(request["arm"], request["job"], request["limit"])
        assert what == "facts"
        found = crew.facts(request["arms"])
        return found | {"host": found["host"] | self._label}

    def _set_up(self, request: Mapping[str, Any]) -> None:
        """New workers. rootfs: its name, digest and packed file; kernels: by arm, its files or {"missing": reason}."""
        if self._crew:
            self._crew.close()
        packed = _intact(self._folder / request["rootfs"]["file"])
        rootfs = image.unpack(packed, request["rootfs"]["name"], request["rootfs"]["digest"], self._folder)
        kernels = {
            arm: str(kernel["missing"])
            if "missing" in kernel
            else GuestKernel(**{key: _intact(self._folder / file) for key, file in kernel.items()})
            for arm, kernel in request["kernels"].items()
        }
        patience = _EMULATED_PATIENCE if self._label["emulated"] else 1.0
        self._crew = Crew(self._own, request["arms"], request["envelope"], rootfs, kernels, patience)

    def _load(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """See kexec.load(). packed: the file in which the kernel was sent; None for one of the host's own."""
        release, packed = request["release"], request["packed"] and self._folder / request["packed"]
        if packed and not kexec.is_settled(release, packed):
            _intact(packed)
        return kexec.load(release, packed, keep=request["keep"])

    def interrupt(self) -> None:
        if self._crew:
            self._crew.interrupt()

    def close(self) -> None:
        if self._crew:
            self._crew.close()


def main() -> None:
    """Serve until the controller has no more to ask, or is gone."""
    out = os.dup(1)
    os.dup2(2, 1)  # nothing else may write between the answers
    writing = threading.Lock()

    def write(message: bytes) -> None:
        with writing, contextlib.suppress(BrokenPipeError):
            os.write(out, message)

    def say(number: int, message: Mapping[str, Any]) -> None:
        data = json.dumps({"to": number, **message}, separators=(",", ":")).encode() + b"\n"
        with writing, contextlib.suppress(BrokenPipeError):
            while data:
                data = data[os.write(out, data) :]

    signal.signal(signal.SIGTERM, interrupt)
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    stalls.Continued.listen()
    limits.raise_open_files()
    requests = _Requests(os.dup(0), lambda: write(b"\n"))
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
    requests.start()
    with contextlib.suppress(Interrupted):
        try:
            _serve(requests.queue, say)
        except TareError as error:
            say(requests.last, failure(error))


def _serve(requests: queue.SimpleQueue[dict[str, Any]], say: Callable[[int, Mapping[str, Any]], None]) -> None:
    first = requests.get()
    folder = Path(sys.argv[1]).absolute()
    os.environ["XDG_CACHE_HOME"] = str(folder)  # all that stays on a host lies in one folder
    if first["do"] == "clean":
        say(first["id"], {"ok": _clean(folder)})
        return
    if first["replaces"]:
        _take_over(first["replaces"])
    removed: list[clean.Removed] = []
    resisting: list[str] = []
    left: list[str] = []
    with contextlib.ExitStack() as stack:
        own = stack.enter_context(lock.occupy(first["what"], removed.extend, left.append, resisting.append))
        agent = Agent(own, folder, first["name"], first["emulated"])
        stack.callback(agent.interrupt)
        stack.callback(hold)
        here = facts.host() | {"name": first["name"], "emulated": first["emulated"]}
        cleaned = [[thing.kind, thing.name] for thing in removed]
        say(first["id"], {"ok": {"run": own.id, "host": here, "cleaned": cleaned, "resisting": resisting}})
        while (request := requests.get())["do"] != "bye":
            try:
                say(request["id"], {"ok": agent.do(request)})
            except TareError as error:
                say(request["id"], failure(error))
        agent.close()
    say(request["id"], {"ok": {"left": left}})


def _take_over(run: str) -> None:
    """End an earlier end of the same campaign, which nobody hears any more."""
    deadline = time.monotonic() + _TAKEOVER_LIMIT
    for number in (signal.SIGTERM, signal.SIGKILL):
        while old := next((each for each in state.runs() if each.id == run and each.alive), None):
            old.signal(number)
            if time.monotonic() > deadline:
                break
            time.sleep(0.2)
        deadline += _TAKEOVER_LIMIT / 4


def _clean(folder: Path) -> dict[str, Any]:
    """What dead runs left, and all of Tare's files here, and what of it resists. Raises HostError while a run lives."""
    resisting: list[str] = []
    with lock.hold():
        removed = [[thing.kind, thing.name] for thing in clean.clean(resisting.append)]
        removed += [["kernel's modules", str(modules)] for modules in kexec.remove()]
        removed += _remove_files(folder)
    return {"removed": removed, "resisting": resisting}


def is_marked(folder: Path) -> bool:
    """Whether Tare made a folder, for files that it sends."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        mark = folder / MARK
        return not mark.is_symlink() and mark.is_file() and mark.read_text() == MARKED
    return False


def _remove_files(folder: Path) -> list[list[str]]:
    """What Tare put into its folder, and the folder itself where nothing else is in it. Raises HostError."""
    if not is_marked(folder):
        return []
    try:
        for entry in list(os.scandir(folder)):
            if entry.is_dir(follow_symlinks=False) and (entry.name in _FOLDERS or _CODE.match(entry.name)):
                shutil.rmtree(entry.path)
            elif entry.is_file(follow_symlinks=False) and _SENT.match(entry.name):
                Path(entry.path).unlink()
        if [entry.name for entry in os.scandir(folder)] != [MARK]:
            return [["files", f"of Tare's in {folder}, where others stay"]]
        (folder / MARK).unlink()
        folder.rmdir()
    except OSError as error:
        raise HostError(f"{folder} cannot be removed whole: {error.strerror}") from error
    return [["folder", str(folder)]]


def _intact(file: Path) -> Path:
    """A file that was put here under the SHA-256 of its content. Raises HostError where it is not that any more."""
    try:
        with file.open("rb") as opened:
            whole = hashlib.file_digest(opened, "sha256").hexdigest() == file.name
        file.chmod(0o755)  # some are programs
    except OSError as error:
        raise HostError(f"{file} cannot be read: {error.strerror}") from error
    if not whole:
        file.unlink()
        raise HostError(f"{file} was damaged, and is removed", hint="try again")
    return file


def failure(error: TareError) -> dict[str, Any]:
    """An error as a line, of which bench.answers makes one again."""
    told = {"what": error.what, "detail": error.detail, "hint": error.hint}
    return {"error": {"kind": type(error).__name__, **{key: text[-_TOLD:] for key, text in told.items()}}}


def hold() -> None:
    """Nothing interrupts what is taken down from now on."""
    Interrupted.held = True


def interrupt(signum: int, frame: object) -> None:
    """For a signal."""
    if not Interrupted.held:
        Interrupted.held = True
        raise Interrupted


if __name__ == "__main__":
    main()
