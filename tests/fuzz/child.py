"""Runs cases in this process, one after another: what went wrong with each is an answer, a line of JSON.

Its input is a line "SEED NUMBER [KIND]" a case. It runs in a folder of its own, where nothing else is.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import resource
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz import inputs

#: Seconds of processor time and bytes that a command may take on top.
_SECONDS = 15.0
_BYTES = 1 << 30
_LONGEST = 4000


class _TooLong(BaseException):
    pass


def _fault(code: object, out: str, err: str, argv: list[str]) -> str | None:
    """What is wrong with how a command ended."""
    verdicts = {0, 3} | ({1} if argv[0] == "check" else set())
    shown = out + err
    if any(not (c.isprintable() or c in "\n\t\N{NO-BREAK SPACE}") for c in shown):
        return "printed what a terminal obeys"
    if code in verdicts:
        if "--json" in argv:
            try:
                json.loads(out, parse_constant=lambda name: 1 / 0)
            except (ValueError, ZeroDivisionError):
                return "printed what is no JSON"
        ours = all(line.startswith("tare: ") for line in err.splitlines())
        return None if ours else "warned of something that is no message of Tare's"
    if code not in (2, 4):
        return f"ended with {code}"
    lines = err.splitlines()
    if len(lines) != 1 or not lines[0].startswith("tare: "):
        return f"ended with {code} and {len(lines)} lines"
    if len(err) > _LONGEST:
        return f"ended with {code} and a line of {len(err)} characters"
    return None


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def stop(signum: int, frame: object) -> None:
        raise _TooLong

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def run(argv: list[str]) -> tuple[object, str | None]:
    """A command's exit code, and what is wrong with how it ends, with what it printed; None where nothing is."""
    from bench import cli

    out, err = io.StringIO(), io.StringIO()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with _limited(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code: object = cli.main(argv)
    except SystemExit as error:
        code = error.code
    except _TooLong:
        return "never", f"took more than {_SECONDS:g} s of processor time\n{traceback.format_exc()[-3000:]}"
    except BaseException:
        return "never", f"a traceback\n{traceback.format_exc()[-3000:]}"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    wrong = _fault(code, out.getvalue(), err.getvalue(), argv)
    if grown > _BYTES:
        wrong = f"took {grown >> 20} MiB"
    kept = re.search(r"the traceback is in (\S+)", err.getvalue())
    traces = Path(kept[1]).read_text()[-3000:] if kept else ""
    return code, wrong and f"{wrong}\n{out.getvalue()[-1000:]}{err.getvalue()[-2000:]}{traces}"


def main() -> None:
    top = Path.cwd()
    # Everything of the user's is here: a cache, an inventory, a home.
    os.environ |= {
        "HOME": str(top / "home"),
        "XDG_CACHE_HOME": "cache",
        "XDG_CONFIG_HOME": str(top / "home/config"),
        "XDG_STATE_HOME": str(top / "home/state"),
        "TARE_HOSTS": "hosts.toml",
        "TMPDIR": str(top / "home"),
    }
    (top / "home").mkdir(exist_ok=True)
    inputs.make(top / "sound")
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 << 20, 256 << 20))
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        seed, number, *kind = line.split()
        case = inputs.case(int(seed), int(number), top / "sound", top / "case", *kind)
        os.chdir(top / "case")
        ended, wrong = run(case.argv)
        os.chdir(top)
        if strange := {path.name for path in top.iterdir()} - {"home", "sound", "case"}:
            wrong = f"wrote outside its folder: {', '.join(strange)}"
        answers.write(
            json.dumps({"broken": case.broken, "argv": case.argv, "ended": str(ended), "wrong": wrong}) + "\n"
        )
        answers.flush()


if __name__ == "__main__":
    main()
