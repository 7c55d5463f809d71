"""The whole program as a user starts it: its exit status, its streams, its output files."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from xml.etree import ElementTree as xml

import pytest

from bench import cli
from tests.program import in_one_line, planted, slower, tare


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return slower(tmp_path_factory.mktemp("campaign") / "x")


#: What becomes of the output.
ENDS = {
    "reader gone at once": '"$@" | true; exit ${PIPESTATUS[0]}',
    "reader gone later": '"$@" | head -1; exit ${PIPESTATUS[0]}',
    "both gone": '"$@" 2>&1 | head -1; exit ${PIPESTATUS[0]}',
    "full": 'exec "$@" >/dev/full',
    "both full": 'exec "$@" >/dev/full 2>&1',
    "closed": 'exec "$@" >&-',
    "error closed": 'exec "$@" 2>&-',
    "all closed": 'exec "$@" <&- >&- 2>&-',
    "not to be written": 'exec "$@" 1</dev/null 2</dev/null',
}
TALK = """
def plan(arguments):
    for number in range(3000):
        print(f"line δ {number}", flush=number % 100 == 0)
        print(f"word δ {number}", file=sys.stderr)
    return 3
"""


@pytest.mark.parametrize("end", ENDS)
def test_a_command_ends_as_it_would_whatever_becomes_of_its_output(end: str) -> None:
    done = planted(TALK, by=ENDS[end])
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("end", ["reader gone later", "full", "all closed"])
def test_the_exit_status_of_check_is_its_verdict_whatever_becomes_of_its_output(folder: Path, end: str) -> None:
    done = tare("check", f"{folder}:base", f"{folder}:slow", by=ENDS[end])
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_what_was_lost_is_told_and_is_a_failure_where_there_is_no_verdict() -> None:
    done = planted(TALK.replace("return 3", "return 0"), by='exec "$@" >/dev/full')
    assert done.returncode == 5
    assert done.stderr.splitlines()[-1].startswith("tare: cannot write standard output: No space left on device; make")
    # Whoever closes a pipe has what he wants.
    assert planted(TALK.replace("return 3", "return 0"), by=ENDS["reader gone later"]).returncode == 0


def test_an_output_that_does_not_wait_loses_nothing() -> None:
    """As some programs leave the terminal or pipe that they share with us."""
    into, out = os.pipe()
    os.set_blocking(out, False)
    code = f"import sys\nfrom bench import cli, streams\n{TALK}\ncli._plan = plan\nsys.exit(cli.program())"
    with subprocess.Popen(
        [sys.executable, "-I", "-c", code, "plan", "x"], stdout=out, stderr=subprocess.DEVNULL
    ) as child:
        os.close(out)
        threading.Event().wait(0.3)  # until the pipe is full
        with open(into, encoding="utf-8") as reader:  # noqa: PTH123 # of a descriptor
            assert reader.read().count("\n") == 3000
    assert child.returncode == 3


def test_no_file_takes_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    """What a library or a command writes to its output would go into it."""
    statement = f"""
def plan(arguments):
    file = open({str(tmp_path / "journal")!r}, "w")
    os.system("echo out; echo error >&2")
    os.write(2, b"of a library")
    return 0 if file.fileno() > 2 else 5
"""
    assert planted(statement, by=ENDS["all closed"]).returncode == 0
    assert (tmp_path / "journal").read_bytes() == b""


DEFECTS = {
    "ValueError": "raise ValueError('math \\x1b[2J domain\\nerror')",
    "SystemExit": "raise SystemExit(1)",
    "SystemExit 0": "raise SystemExit",
    "SystemExit text": "sys.exit('words')",
    "BrokenPipeError": "raise BrokenPipeError(32, 'Broken pipe')",
    "RecursionError": "return plan(arguments)",
    "MemoryError": "raise MemoryError",
    "AssertionError": "assert not arguments",
    "GeneratorExit": "raise GeneratorExit",
}


@pytest.mark.parametrize("name", DEFECTS)
def test_an_exception_that_nobody_foresaw_ends_with_70_and_says_where_its_traceback_is(
    name: str, tmp_path: Path
) -> None:
    done = planted(f"def plan(arguments):\n    {DEFECTS[name]}", env={"TMPDIR": str(tmp_path)})
    assert done.returncode == 70
    in_one_line(done, f"unexpected {name.split()[0]}", "report it")
    (kept,) = tmp_path.iterdir()
    assert str(kept) in done.stderr
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "in plan" in kept.read_text()
    assert "\x1b" not in kept.read_text() + done.stderr


def test_a_traceback_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    done = planted("def plan(arguments):\n    raise ValueError('lost')", by='ulimit -f 0; exec "$@"')
    assert done.returncode == 70
    assert "unexpected ValueError: lost" in done.stderr.splitlines()[0]
    assert done.stderr.splitlines()[-1] == "ValueError: lost"


@pytest.mark.parametrize(("number", "words"), [(28, "make room"), (13, "have this user"), (24, "ulimit -n")])
def test_what_the_system_refuses_is_this_hosts_matter(number: int, words: str) -> None:
    done = planted(f"def plan(arguments):\n    raise OSError({number}, os.strerror({number}), '/some/where')")
    assert done.returncode == 4
    in_one_line(done, f"/some/where: {os.strerror(number)}; ", words)


def test_a_signal_at_the_very_end_changes_nothing() -> None:
    statement = """
import atexit, signal
atexit.register(lambda: [os.kill(os.getpid(), number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)])
def plan(arguments):
    return 3
"""
    assert planted(statement).returncode == 3


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        (["compare", "a", "b", "--metric", "boot"], "usage: tare compare"),
        (["check", "a", "--json", "b", "--josn"], "usage: tare check"),
        (["plan", "a", "--json", "b"], "usage: tare plan"),
        (["kernel", "list", "--remot", "x"], "usage: tare kernel list"),
        (["rnu"], "usage: tare"),
        ([], "usage: tare"),
        (["check", "a"], "tare: BASE and NEW are both needed"),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_the_usage_of_what_was_meant(
    words: list[str], usage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    assert capsys.readouterr().err.startswith(usage)


APART = cli._APART


@pytest.mark.parametrize(
    ("words", "name", "several"),
    [
        (["check", "a", "--policy", "p", "b"], "given", ["a", "b"]),
        (["compare", "a", "--json", "b"], "given", ["a", "b"]),
        (["check", "a", "--policy", "p", "--", "b"], "given", ["a", APART, "b"]),
        (
            ["check", "--json", "a", "b", "--", "--arm", "x", "c", "--svg", "s", "d"],
            "given",
            ["a", "b", APART, "c", "d"],
        ),
        (["report", "a", "--out", "o", "b", "--json", "c"], "folders", [Path("a"), Path("b"), Path("c")]),
        (["history", "a", "--metric", "boot", "b"], "paths", [Path("a"), Path("b")]),
        (["doctor", "kvm", "--json", "crun"], "backends", ["kvm", "crun"]),
        (["kernel", "fetch", "a", "--json", "b"], "names", ["a", "b"]),
        (["selfbench", "help", "--json", "report"], "parts", ["help", "report"]),
        (["lab", "up", "a", "--json", "b"], "names", ["a", "b"]),
    ],
)
def test_options_may_stand_between_what_a_command_takes_several_of(
    words: list[str], name: str, several: list[object]
) -> None:
    assert getattr(cli._parse(words), name) == several


@pytest.mark.parametrize("words", [["setup"], ["test"]])
def test_the_scripts_own_commands_are_no_defect(words: list[str]) -> None:
    done = tare(*words)
    assert done.returncode == 2
    in_one_line(done, "./tare setup")


# Output files. CHECK has each of them written to what stands for {}.
CHECK = ["--junit", "--markdown", "--svg"]


def test_what_is_no_regular_file_is_written_to_and_stays(folder: Path, tmp_path: Path) -> None:
    pipe, link, target = tmp_path / "pipe", tmp_path / "link", tmp_path / "real" / "picture.svg"
    os.mkfifo(pipe)
    target.parent.mkdir()
    target.write_text("old")
    link.symlink_to("real/picture.svg")
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.append(pipe.read_text()))
    reader.start()
    done = tare(
        *("check", f"{folder}:base", f"{folder}:slow"),
        *("--junit", pipe, "--markdown", "/dev/stdout", "--svg", link),
    )
    reader.join(10)
    assert done.returncode == 1
    assert xml.fromstring(said[0]).tag == "testsuites"
    assert done.stdout.startswith("## Tare")
    assert "REGRESSED (exit 1)" in done.stdout  # what is printed follows
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert link.is_symlink()
    assert "<svg" in target.read_text()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["link", "picture.svg", "pipe", "real"]


def test_the_descriptors_of_a_shell_are_written_to(folder: Path, tmp_path: Path) -> None:
    """Also one that is a file: it is not begun anew, and not replaced under what is printed."""
    done = tare(
        *("check", f"{folder}:base", f"{folder}:slow"),
        by='exec 7>>out; echo before >&7; "$@" --markdown /dev/fd/7 --junit >(cat >junit) --svg /proc/self/fd/1 '
        ">both; status=$?; wait; exit $status",
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert (tmp_path / "out").read_text().startswith("before\n## Tare")
    both = (tmp_path / "both").read_text()
    assert both.index("<svg") < both.index("REGRESSED (exit 1)")


def test_a_file_that_cannot_be_written_changes_no_verdict(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    places = ["--markdown", "folder", "--svg", "file/x", "--junit", "/proc/x"]
    assert cli.main(["check", f"{folder}:slow", f"{folder}:base", *places]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "tare: cannot write folder: it is a folder; write elsewhere",
        "tare: cannot write file/x: Not a directory; write elsewhere",
        "tare: cannot write /proc/x: No such file or directory; write elsewhere",
    ]
    assert cli.main(["compare", f"{folder}:slow", f"{folder}:base", *places[:2]]) == 5
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tare: cannot write folder: it is a folder")


# Encodings.
def _locale(top: Path, name: str, charmap: str, encoding: str, size: int) -> None:
    """A locale of one byte a character, made of nothing."""
    lines = [f"<code_set_name> {charmap}", "<comment_char> %", "<escape_char> /", "CHARMAP"]
    lines += [f"<U{ord(bytes([byte]).decode(encoding)):04X}> /x{byte:02x} C" for byte in range(size)]
    (top / "charmap").write_text("\n".join([*lines, "END CHARMAP", ""]))
    (top / "source").write_text("LC_CTYPE\nEND LC_CTYPE\n")
    command = ["localedef", "-c", "-i", top / "source", "-f", top / "charmap", top / name]
    subprocess.run(command, capture_output=True, check=False)  # it complains of what is not there
    assert (top / name / "LC_CTYPE").is_file()


@pytest.mark.parametrize(
    ("charmap", "encoding", "size", "shown"),
    [
        ("ISO-8859-1", "latin1", 256, "± 3 × delta ?"),
        ("ANSI_X3.4-1968", "ascii", 128, "+- 3 x delta ?"),
        ("KOI8-R", "koi8-r", 256, "+- 3 x delta ?"),
    ],
)
def test_a_terminal_that_lacks_a_character_gets_another(
    tmp_path: Path, charmap: str, encoding: str, size: int, shown: str
) -> None:
    """Files are in UTF-8 nevertheless."""
    _locale(tmp_path, "strange", charmap, encoding, size)
    done = planted(
        "def plan(arguments):\n    print('± 3 × δ 日'); open('file', 'w').write('δ')",
        env={"LOCPATH": str(tmp_path), "LC_ALL": "strange"},
        cwd=tmp_path,
    )
    assert done.returncode == 0
    assert done.stdout.encode(errors="surrogateescape").decode(encoding) == shown + "\n"
    assert (tmp_path / "file").read_text(encoding="utf-8") == "δ"


@pytest.mark.parametrize("name", ["C", "POSIX", "xx_YY.nowhere", ""])
def test_where_the_locale_says_nothing_it_is_utf_8(name: str) -> None:
    done = planted("def plan(arguments):\n    print('± 3 × δ 日')", env={"LC_ALL": name})
    assert done.stdout == "± 3 × δ 日\n"


# What is given for a results folder or a campaign.
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report", "x/plan.json"], "x/plan.json is a file, not a results folder; name the folder: x"),
        (["report", "x/journal.jsonl"], "x/journal.jsonl is a file, not a results folder; name the folder: x"),
        (["resume", "x/plan.json"], "x/plan.json is a file, not a results folder; name the folder: x"),
        (["report", "file"], "file is a file, not a results folder; name the folder"),
        (["report", "."], "no journal at journal.jsonl; name one of those in it, like begun"),
        (["report", "none"], "no results folder at none; name one"),
        (["report", "x", "x", "--out", "o"], "x is given twice; name each campaign once"),
        (["report", "x", "./x/../x", "--out", "o"], "is given twice"),
        (["report", "x", "copy", "--out", "o"], "x and copy hold the same slots; name each campaign once"),
        (["report", "copy", "begun", "--out", "o"], "copy and begun hold the same slots; name each campaign once"),
        (["plan", "x"], "x: is a directory; name a campaign's file"),
    ],
)
def test_what_is_no_results_folder_or_campaign_is_told(
    words: list[str],
    said: str,
    mistaken: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(mistaken)
    assert cli.main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (mistaken / "o").exists()


@pytest.fixture(scope="module")
def mistaken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder x, a copy of it, one of when it was not finished, and a file."""
    top = tmp_path_factory.mktemp("mistaken")
    whole = slower(top / "x")
    (top / "file").write_text("")
    for name, size in (("copy", None), ("begun", 20_000)):
        (top / name).mkdir()
        for file in whole.iterdir():
            (top / name / file.name).write_bytes(file.read_bytes()[: size if file.suffix == ".jsonl" else None])
    return top


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("/proc/x", "cannot write /proc/x/report.html: No such file or directory; write elsewhere"),
        ("/dev/null", "cannot write /dev/null/report.html: a file is where a folder should be; write elsewhere"),
    ],
)
def test_a_report_that_cannot_be_written_is_told_with_a_fitting_hint(
    folder: Path, place: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", str(folder), "--out", place]) == 5
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_names_that_are_not_utf_8(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strange = tmp_path / os.fsdecode(b"caf\xe9")
    strange.mkdir()
    for file in folder.iterdir():
        (strange / file.name).write_bytes(file.read_bytes())
    assert cli.main(["report", str(strange)]) == 0
    assert capsys.readouterr().err == ""
    assert (strange / "report.html").is_file()
    assert (strange / "samples.parquet").is_file()
    outputs = [
        strange / os.fsdecode(b"\xe9.md"),
        strange / os.fsdecode(b"\xe9.svg"),
        strange / os.fsdecode(b"\xe9.xml"),
    ]
    done = tare(
        *("check", f"{strange}:base", f"{strange}:slow"),
        *("--markdown", outputs[0], "--svg", outputs[1], "--junit", outputs[2]),
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert all("caf?" in file.read_text(encoding="utf-8") for file in outputs)


def test_charts_are_drawn_whatever_a_notebook_has_set(folder: Path, tmp_path: Path) -> None:
    env = {"MPLBACKEND": "nowhere", "MPLCONFIGDIR": "/proc/none"}
    done = tare("check", f"{folder}:base", f"{folder}:slow", "--svg", tmp_path / "x.svg", env=env)
    assert (done.returncode, done.stderr) == (1, "")
    assert "<svg" in (tmp_path / "x.svg").read_text()


def test_a_pipe_in_the_place_of_a_reports_file_stays(
    mistaken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "report.html")
    assert cli.main(["report", str(mistaken / "x"), "--out", str(tmp_path)]) == 5
    (line,) = capsys.readouterr().err.splitlines()
    assert "report.html: is a pipe, not a file" in line
    assert stat.S_ISFIFO((tmp_path / "report.html").lstat().st_mode)


# Before a command has begun.
@pytest.mark.parametrize(
    ("statement", "code", "said"),
    [
        ("sys.modules['bench.errors'] = None", 70, "tare: cannot run: ModuleNotFoundError"),
        ("sys.meta_path.insert(0, Exits)", 70, "tare: cannot run: SystemExit"),
        ("Exits.error = KeyboardInterrupt; sys.meta_path.insert(0, Exits)", 130, "tare: interrupted; nothing was left"),
        ("from bench import cli; cli._parser = lambda: [][0]", 70, "tare: unexpected IndexError"),
        ("from bench import cli, limits; limits.raise_open_files = lambda: [][0]", 70, "tare: unexpected IndexError"),
        ("from bench import cli, streams; streams.install = lambda: os.open('/proc/1/x/y', 0)", 70, "tare: unexpected"),
        ("from bench import cli, streams; streams.install = full", 4, "tare: Too many open files"),
        (
            "from bench import cli, crash; cli._parser = crash.told = lambda *a: [][0]",
            70,
            "tare: cannot run: IndexError",
        ),
    ],
)
def test_what_goes_wrong_before_a_command_has_begun_is_no_verdict(statement: str, code: int, said: str) -> None:
    script = f"""
import os, sys

class Exits:
    error = SystemExit(1)

    @classmethod
    def find_spec(cls, name, *about):
        if name == "bench.cli":
            raise cls.error

def full():
    raise OSError(24, os.strerror(24))

{statement}
from bench.__main__ import program
program()
"""
    done = tare("check", "a", "b", program=[sys.executable, "-I", "-c", script])
    assert done.returncode == code
    in_one_line(done, said)
