"""The command line: what `tare` does.

Exit codes: 0 done, or `check` passed · 1 `check` proved a regression · 2 bad input · 3 `check` proved neither ·
4 this host cannot · 5 slots failed, or a file cannot be written · 70 a defect of Tare · 130 interrupted.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench import __version__, interrupts, limits, stalls
from bench.errors import HostLost, InputError, RecordError, TareError, remedy
from bench.text import clean, one_line

if TYPE_CHECKING:
    from bench import kernels, progress
    from bench.lab import Recipe
    from bench.results import Record
    from bench.stops import Referee

_HOST_CANNOT, _DEFECT = 4, 70
#: Stands for `--` between BASE's and NEW's sessions, which argparse would swallow.
_APART = "\x1f--"
#: What a system refuses for reasons of its own, wherever that comes up: no defect of Tare.
_REFUSALS = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
    | {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENAMETOOLONG}
)

# Commands import what they need when they run: --help must not wait for pandas, nor `plan` for libvirt.


def program() -> int:
    """Run one command as this process; its exit status, which is the command's whatever becomes of its output."""
    try:
        from bench import streams

        streams.in_utf8()
        streams.install()
        if not sys.warnoptions:
            warnings.simplefilter("ignore")  # what libraries have to say of odd data is no message of ours
        code = main()
    except Exception as error:  # no command has begun
        code = _confess(error)
    interrupts.ignore()  # what was decided stands
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    try:
        try:
            arguments = _parse(argv)
        except SystemExit as told:  # argparse's: 0 for --help, 2 for what is no command line
            return 2 if told.code else 0
        return _obey(arguments)
    except KeyboardInterrupt as stop:
        print(f"tare: interrupted; {one_line(_left(stop))}", file=sys.stderr)
        return 130


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Exits with 2 for what is no command line, by the usage of the command that was meant.

    Options may stand anywhere between what a command takes several of, where argparse knows the first of those alone.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if next((word for word in words if not word.startswith("-")), "") in ("compare", "check"):
        words = [_APART if word == "--" else word for word in words]
    arguments, unknown = _parser().parse_known_args(words)
    if unknown and "several" in arguments and not any(word.startswith("-") for word in unknown):
        name, kind = arguments.several
        setattr(arguments, name, [*getattr(arguments, name), *map(kind, unknown)])
    elif unknown:
        arguments.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return arguments


def _obey(arguments: argparse.Namespace) -> int:
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        interrupts.listen()
        stalls.Continued.listen()
        limits.raise_open_files()
        os.environ["MPLBACKEND"] = "agg"  # charts go to files, also where a notebook has said otherwise
        code = command(arguments)
        return _lost_output(code, is_verdict=command is _check)
    except TareError as error:
        return _complain(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: what a library calls a status is none of ours
        return _confess(error)


def _lost_output(code: int, *, is_verdict: bool) -> int:
    """A command's exit code, with a word where standard output lacks what it told."""
    from bench import streams

    error = streams.lost()
    if error is None:
        return code
    failed = _complain(
        RecordError(f"cannot write standard output: {error.strerror}", hint=remedy(error, "write elsewhere"))
    )
    return code if code or is_verdict else failed


def _complain(error: TareError) -> int:
    """Tell what went wrong; the exit code that says so."""
    print(f"tare: {one_line(error)}", file=sys.stderr)
    if error.detail:
        print(clean(error.detail.rstrip()), file=sys.stderr)
    return error.exit_code


def _confess(error: BaseException) -> int:
    """Tell of an exception that nobody foresaw, and where its traceback is; the exit code that says so."""
    from bench import crash

    traceback = crash.told(error)
    kept = crash.keep(traceback)
    where = f"the traceback is in {kept}" if kept else "the traceback:"
    if isinstance(error, OSError) and error.errno in _REFUSALS:
        code, what = _HOST_CANNOT, f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
        what = f"{what}; {remedy(error, 'have this user write there, or choose another place')}"
    else:
        code, what = _DEFECT, f"unexpected {type(error).__name__}: {str(error)[:300]}; a defect of Tare: report it"
    print(f"tare: {one_line(what)}; {where}", file=sys.stderr)
    if not kept:
        print(traceback, file=sys.stderr)
    return code


def _left(stop: KeyboardInterrupt) -> str:
    """What an interrupted command left: an interrupt that left something has it in words."""
    words = stop.args[0] if stop.args else None
    return words if isinstance(words, str) else "nothing was left behind"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tare",
        description="What a container, a KVM/QEMU guest and a User-Mode Linux guest weigh for the same work.",
        epilog="Exit status: 0 done, or check passed; 1 check proved a regression; 2 bad input; 3 check proved "
        "neither; 4 this host cannot; 5 slots failed, or a file cannot be written; 70 a defect of Tare; "
        "130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"tare {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str, function: Callable[[argparse.Namespace], int], text: str, *, machine: bool = True
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        command.set_defaults(command=function, parser=command)
        if machine:
            command.add_argument("--json", action="store_true", help="print what a program would read")
        return command

    command = add("doctor", _doctor, "what a host can run, proved by starting it")
    command.add_argument("backends", nargs="*", metavar="BACKEND", help="only these (all)")
    command.set_defaults(several=("backends", str))
    command.add_argument("--host", metavar="NAME", help="another host than this machine: see host list")
    command = add("plan", _plan, "show a campaign's matrix, order and cost; starts nothing")
    command.add_argument("file", type=Path, metavar="FILE")
    command = add("run", _run, "run a campaign and write its report")
    command.add_argument("file", type=Path, metavar="FILE")
    command.add_argument(
        "--results", type=Path, default=Path("results"), metavar="DIR", help="where its folder is made (results/)"
    )
    command = add("resume", _resume, "run what an interrupted campaign's journal lacks")
    command.add_argument("folder", type=Path, metavar="DIR")
    _add_anyway(command)
    command = add("report", _report, "write the report of one or several results folders")
    command.add_argument("folders", type=Path, nargs="+", metavar="DIR")
    command.set_defaults(several=("folders", Path))
    command.add_argument("--out", type=Path, metavar="DIR", help="where to write it (needed for several folders)")
    _add_comparison(add("compare", _compare, "what changed from BASE to NEW, metric by metric, and how sure that is"))
    command = add("check", _check, "the same as a gate: exit 0 passed, 1 regressed, 3 neither is proved")
    _add_comparison(command)
    command.add_argument("--junit", type=Path, metavar="FILE", help="write JUnit XML, a test case a metric")
    _add_bisect(add("bisect", _bisect, "find the first of several kernels in which a metric moved"))
    command = add("history", _history, "draw a metric over kernel releases or time, with change points")
    command.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="results folders, .json files of results, or folders of either",
    )
    command.set_defaults(several=("paths", Path))
    command.add_argument(
        "--metric", action="append", metavar="NAME", help="boot by default; can be given again; all: every metric"
    )
    command.add_argument("--arm", "--backend", metavar="ARM", help="whose: an arm, what stands before its @, a backend")
    command.add_argument(
        "--by",
        choices=["release", "commit", "time", "name"],
        help="the order (release where there are several; else commit date, time or name)",
    )
    command.add_argument(
        "--out", type=Path, default=Path("history"), metavar="DIR", help="where its files go (history/)"
    )
    command = add("clean", _clean, "remove what dead runs left on a host")
    command.add_argument("--host", metavar="NAME", help="another host, and all of Tare's files there too")
    command = add("selfbench", _selfbench, "what the harness itself costs, as ratios from one run")
    command.add_argument(
        "parts", nargs="*", metavar="PART", help="only these: boot, runner, density, inside, help, report"
    )
    command.set_defaults(several=("parts", str))
    command.add_argument("--host", help="instead: what a slot on this host takes beside the worker's own time")
    _add_host(commands.add_parser("host", help="the hosts that a campaign can name: list, trust"))
    _add_kernel(commands.add_parser("kernel", help="kernels for guests: list, fetch or build"))
    _add_lab(commands.add_parser("lab", help="emulated lab hosts on this machine: build, up, ssh, down, status"))
    kinds = "lint|unit|judge|integration|lab|web|fuzz"
    for name, text in (
        ("setup", "check the set-up again and complete it"),
        ("test", f"run the tests: test [{kinds} …] [pytest …]"),
    ):
        command = commands.add_parser(name, help=text, add_help=False)
        command.set_defaults(command=_bootstrap, parser=command)
    return parser


def _add_comparison(command: argparse.ArgumentParser) -> None:
    what = (
        "DIR:ARM of a campaign (or ARM with --in), a results folder, or a pyperf .json file; several a side: A… -- B…"
    )
    command.usage = "%(prog)s [options] BASE NEW | BASE... -- NEW..."
    command.add_argument("given", metavar="BASE NEW", nargs="+", help=what)
    command.set_defaults(several=("given", str))
    command.add_argument("--in", dest="inside", type=Path, metavar="DIR", help="the results folder that has both arms")
    command.add_argument("--arm", action="append", metavar="NAME", help="of two results folders only this arm")
    command.add_argument("--policy", type=Path, metavar="FILE", help="TOML: margins, and which metrics gate")
    command.add_argument("--markdown", type=Path, metavar="FILE", help="write it for a pull request")
    command.add_argument("--svg", type=Path, metavar="FILE", help="draw the ratios with their intervals")


def _add_host(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(required=True, metavar="ACTION")
    text = "this machine, those of the inventory file, and lab hosts that are up"
    action = actions.add_parser("list", help=text, description=text[0].upper() + text[1:] + ".")
    action.set_defaults(command=_host_list, parser=action)
    action.add_argument("--json", action="store_true", help="print what a program would read")
    text = "vouch for a host's key, after comparing it"
    action = actions.add_parser("trust", help=text, description=text[0].upper() + text[1:] + ".")
    action.set_defaults(command=_host_trust, parser=action)
    action.add_argument("name", metavar="NAME")
    action.add_argument("--fingerprint", metavar="SHA256:…", help="do not ask: trust this key, and no other")


def _add_kernel(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(required=True, metavar="ACTION")

    def add(name: str, function: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        action = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        action.set_defaults(command=function, parser=action)
        action.add_argument("--json", action="store_true", help="print what a program would read")
        return action

    action = add("list", _kernel_list, "what the cache holds, or what Debian has")
    action.add_argument("--remote", action="store_true", help="what Debian has, as apt's lists know it")
    action = add("fetch", _kernel_fetch, "fetch kernel packages and unpack them into the cache; installs nothing")
    action.add_argument(
        "names", nargs="*", metavar="NAME", help="a release or package, with or without =VERSION (Debian's newest)"
    )
    action.set_defaults(several=("names", str))
    action = add("build", _kernel_build, "build User-Mode Linux from a linux-source package, into the cache")
    action.add_argument("source", metavar="SOURCE", help="like linux-source-6.1, with or without =VERSION")
    action.add_argument("--config", type=Path, metavar="FILE", help="options to set on top of Tare's, CONFIG_… a line")
    action.add_argument("--name", metavar="NAME", help="to be the end of its release: 6.1.170-NAME")


def _add_lab(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(required=True, metavar="ACTION")

    def add(
        name: str, function: Callable[[argparse.Namespace], int], text: str, *, machine: bool = True
    ) -> argparse.ArgumentParser:
        action = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        action.set_defaults(command=function, parser=action)
        if machine:
            action.add_argument("names", nargs="*", metavar="NAME", help="lab-debian, lab-xen, … (all)")
            action.set_defaults(several=("names", str))
            action.add_argument("--json", action="store_true", help="print what a program would read")
        return action

    action = add("build", _lab_build, "make lab hosts' disks from Debian packages, into the cache")
    action.add_argument("--again", action="store_true", help="also where they are there: with today's packages")
    add("up", _lab_up, "boot lab hosts in the background, and wait until they answer by SSH")
    action = add("ssh", _lab_ssh, "log into a lab host, or run a command there", machine=False)
    action.add_argument("name", metavar="NAME", help="lab-debian, lab-xen, …")
    action.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND", help="as ssh takes it")
    add("down", _lab_down, "switch lab hosts off; nothing of what was done in them is kept")
    add("status", _lab_status, "which lab hosts are built, and which are up")


def _add_bisect(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--kernels",
        metavar="LIST|RANGE",
        help="in order: names with commas between them, or 6.1.0-47..6.1.0-56 over what Debian has of a flavour",
    )
    command.add_argument("--metric", default="boot.instructions", help="boot.instructions, or spawn, boot.cpu, …")
    command.add_argument(
        "--change", type=float, metavar="PERCENT", help="how far it must have moved (0.1, or 5 for times)"
    )
    command.add_argument("--backend", help="what boots them (qemu-icount, or qemu for times)")
    command.add_argument("--flavour", default="cloud-amd64", help="of the kernels of a range (cloud-amd64)")
    command.add_argument(
        "--blocks", type=int, default=20, metavar="N", help="the most that a comparison of times takes (20)"
    )
    command.add_argument("--all", action="store_true", help="measure every kernel instead of halving")
    command.add_argument(
        "--results", type=Path, default=Path("results"), metavar="DIR", help="where its folder is made (results/)"
    )
    command.add_argument("--resume", type=Path, metavar="DIR", help="go on with a search that was interrupted")
    _add_anyway(command)


def _bootstrap(arguments: argparse.Namespace) -> int:
    raise InputError("setup and test are the script's own commands", hint="./tare setup, ./tare test")


def _say(text: object) -> None:
    """A line for people. Anybody's words may stand in it."""
    print(one_line(text), flush=True)


def _add_anyway(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--anyway",
        action="store_true",
        help="also on another machine or by another Tare than it was begun with; its report tells of it",
    )


def _emit(value: object) -> None:
    print(json.dumps(value, indent=1))


def _doctor(arguments: argparse.Namespace) -> int:
    from bench import counters, doctor, inventory

    where = inventory.find(arguments.host or inventory.LOCAL)
    answers = []
    for answer in doctor.examine(where, names=arguments.backends):
        answers.append(answer)
        if not arguments.json:
            what = answer.backend if answer.guest == "linux" else f"{answer.backend} ({answer.guest})"
            verdict = "yes" if answer.runs else "NO"
            _say(f"{verdict:3}  {what:16} {answer.seconds:5.1f} s  {answer.reason or ''}".rstrip())
            for note in answer.notes if answer.runs else []:
                _say(f"     {'':16}          note: {note}")
    if arguments.json:
        _emit([answer.as_dict() for answer in answers])
    elif where.entry is None and (reason := counters.missing()):
        _say(f"note: {reason}: instructions are counted in qemu-icount alone")
    return 0 if any(answer.runs for answer in answers) else 4


def _plan(arguments: argparse.Namespace) -> int:
    from bench import config, crew, fits, inventory, kernels, plan

    campaign = config.load(arguments.file)
    # What another host has is asked when the campaign runs.
    here = campaign.slurm is None and inventory.LOCAL in campaign.hosts
    missing: dict[tuple[str, str], str] = {}
    first: dict[str, str] = {}
    for arm in campaign.arms.values():
        reason = crew.static_reason(arm.kind, arm.options) if here else None
        if arm.kernel and arm.kind.kernel and not reason:
            try:
                if text := kernels.foresee(arm.kernel, arm.kind.kernel):
                    first[arm.name] = text
            except TareError as error:
                if arm.kernel.name:
                    raise
                reason = str(error)
        if reason:
            missing |= {(arm.name, guest): reason for guest in ("linux", "firmware")}
        elif here:
            names = {name for scenario in campaign.scenarios.values() for name in scenario.measures}
            missing |= {(arm.name, name): why for name, why in crew.lacking(arm.kind, names).items()}
    made = plan.make(campaign, missing)
    cost = plan.estimate(made)
    misfits = fits.misfits(made, cost) if here else []
    if arguments.json:
        estimate = {"seconds": cost.seconds, "memory": cost.memory, "disk": cost.disk}
        _emit({**made, "estimate": estimate, "kernels": first, "does_not_fit": misfits})
        return 0
    from bench import show

    show.plan(made, cost, first, misfits)
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from bench import config, runner

    campaign = config.load(arguments.file)
    return _campaign(lambda screen: runner.run(campaign, arguments.results, screen, appoint=_appoint), arguments.json)


def _appoint(plan: Record) -> Referee | None:
    """The judge of a campaign that may stop early; others need no pandas while they run."""
    if not plan.get("stop"):
        return None
    from analysis import referee

    return referee.Referee(plan)


def _resume(arguments: argparse.Namespace) -> int:
    from bench import results, runner

    results.refuse_file(arguments.folder)

    def work(screen: progress.Screen) -> Path:
        return runner.resume(arguments.folder, screen, appoint=_appoint, anyway=arguments.anyway)

    return _campaign(work, arguments.json)


def _campaign(work: Callable[[progress.Screen], Path], as_json: bool) -> int:
    from bench import progress
    from bench.results import JOURNAL

    with progress.Screen() as screen:
        try:
            folder = work(screen)
        except KeyboardInterrupt as stop:
            if screen.folder is None:
                raise
            screen.say(f"tare: interrupted; {_left(stop)}. Go on with: ./tare resume {screen.folder}")
            return 130
        except HostLost as error:
            if screen.folder is None or not (screen.folder / JOURNAL).exists():
                raise
            screen.say(f"tare: {error}")
            folder = screen.folder
    return _finish(folder, as_json)


def _finish(folder: Path, as_json: bool) -> int:
    """Write the report; say where it is and how the slots ended."""
    from analysis import report
    from bench import results
    from bench.results import JOURNAL, last_of_each_slot, read_decisions, read_hosts, read_journal, read_plan

    parts = [folder / name for name in read_hosts(folder) or []] or [folder]
    lines: list[Record] = []
    unrun: list[str] = []
    spared = planned = 0
    for part in parts:
        plan = read_plan(part) or {}
        ran = last_of_each_slot(read_journal(part / JOURNAL)) if (part / JOURNAL).exists() else []
        needless = len(results.spared(plan, read_decisions(part)))
        lines, spared, planned = lines + ran, spared + needless, planned + len(plan.get("slots", ()))
        if not plan or len(ran) + needless < len(plan["slots"]):
            unrun.append(part.name)
    bad = [line for line in lines if line["status"] != "ok"]
    written = report.write_report([folder])
    page = next(path for path in written if path.name == "report.html")
    if as_json:
        _emit(
            {
                "folder": str(folder),
                "report": str(page),
                "slots": len(lines),
                "failed": [line["slot"] for line in bad],
                "spared": spared,
                "unfinished": unrun,
            }
        )
    else:
        saved = f", {spared} of {planned} not needed ({spared / planned:.0%} saved)" if spared else ""
        _say(f"{len(lines)} slots, {len(bad)} failed{saved}. Report: {page}")
        if unrun:
            _say(f"unfinished: {', '.join(unrun)}. Go on with: ./tare resume {folder}")
    return 5 if bad or unrun else 0


def _report(arguments: argparse.Namespace) -> int:
    from analysis import report

    written = report.write_report(arguments.folders, arguments.out)
    if arguments.json:
        _emit([str(path) for path in written])
    else:
        _say(
            f"Report: {next(path for path in written if path.name == 'report.html')} and {len(written) - 1} more files"
        )
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    _compared(arguments, gated=False)
    return 0


def _check(arguments: argparse.Namespace) -> int:
    """Its exit code is the verdict alone: a file that cannot be written is told, and changes nothing."""
    return _compared(arguments, gated=True)


def _compared(arguments: argparse.Namespace, *, gated: bool) -> int:
    from analysis import comparison, files, policy, tell

    rules = policy.read_policy(arguments.policy) if arguments.policy else None
    base, new = _base_and_new(arguments.given)
    found = comparison.compare(base, new, rules, inside=arguments.inside, arms=arguments.arm or [])
    gate = comparison.gate(found) if gated else None
    for path, text in tell.documents(
        found, gate, arguments.markdown, arguments.svg, arguments.junit if gated else None
    ).items():
        try:
            files.put(path, text.encode())
        except RecordError as error:
            if not gated:
                raise
            _complain(error)
    if arguments.json:
        _emit(found.as_dict() | ({"gate": {"exit": gate.code, "text": gate.text}} if gate else {}))
    else:
        tell.on_screen(found, gate)
    return gate.code if gate else 0


def _base_and_new(given: list[str]) -> tuple[list[str], list[str]]:
    """What stands before `--` and after it; without one, there are two."""
    if given.count(_APART) == 1:
        place = given.index(_APART)
        return given[:place], given[place + 1 :]
    if len(given) == 2 and _APART not in given:
        return given[:1], given[1:]
    what = "which are BASE and which are NEW?" if len(given) > 2 else "BASE and NEW are both needed"
    raise InputError(what, hint="write BASE NEW, or several sessions a side: BASE… -- NEW…")


def _bisect(arguments: argparse.Namespace) -> int:
    from analysis import step
    from analysis.looks import looks_of
    from bench import bisect, progress
    from bench.results import read_plan

    if (arguments.resume is None) == (arguments.kernels is None):
        raise InputError("give either --kernels or --resume")
    if arguments.resume:
        folder, question = arguments.resume, bisect.recall(arguments.resume)
    else:
        if arguments.blocks < 1:
            raise InputError(f"--blocks {arguments.blocks}: one or more")
        question = bisect.ask(
            arguments.kernels,
            arguments.flavour,
            arguments.metric,
            arguments.backend,
            arguments.change,
            arguments.blocks,
        )
        folder = bisect.make_folder(arguments.results, question)

    def judge(folders: Sequence[Path], base: str, new: str) -> bisect.Look:
        looks = looks_of(read_plan(folders[0]) or {}) if len(folders) == 1 else {}
        at = next(iter(looks.values()), ())
        found = step.step(step.figures(folders), question.metric, base, new, question.change, at)
        return bisect.Look(found.ratio, found.moved, found.exact, found.text)

    with progress.Screen() as screen:
        screen.say(f"bisect  {question}; results in {folder}")
        try:
            found = bisect.Search(question, folder, judge, screen, _appoint, anyway=arguments.anyway).run(
                everything=arguments.all
            )
        except KeyboardInterrupt:
            screen.say(f"tare: interrupted; nothing was left behind. Go on with: ./tare bisect --resume {folder}")
            return 130
    parts = step.phases(
        step.figures(bisect.folders(folder)), question.metric, question.arm(found.before), question.arm(found.first)
    )
    if arguments.json:
        _emit(bisect.as_dict(question, folder, found, parts))
    else:
        for line in bisect.tell(question, found, parts):
            _say(line)
    return 0 if found.certain else 3


def _history(arguments: argparse.Namespace) -> int:
    from analysis import history_report

    written = history_report.write_history(
        arguments.paths, arguments.out, arguments.metric or ["boot"], arguments.arm, arguments.by
    )
    for reason in written.document["left_out"]:
        print(f"tare: left out: {one_line(reason)}", file=sys.stderr)
    if arguments.json:
        _emit(written.document)
        return 0
    for history in written.histories:
        for sentence in history_report.sentences(history):
            _say(sentence)
    _say(f"History: {arguments.out / 'history.html'} and {len(written.paths) - 1} more files")
    return 0


def _clean(arguments: argparse.Namespace) -> int:
    from bench import clean

    resisting: list[str] = []
    if arguments.host:
        from bench import host, inventory

        where = inventory.find(arguments.host)
        if where.entry is None:
            raise InputError("this machine is cleaned without --host")
        found = host.clean_up(where)
        removed, resisting = found.removed, found.resisting
    else:
        removed = [(thing.kind, thing.name) for thing in clean.clean(resisting.append)]
    if arguments.json:
        _emit([{"kind": kind, "name": name} for kind, name in removed])
    else:
        for kind, name in removed:
            _say(f"removed {kind} {name}")
        if removed or not resisting:
            _say(f"{len(removed)} things removed" if removed else "nothing to remove")
    if resisting:
        raise TareError("; ".join(resisting), hint="try again")
    return 0


def _host_list(arguments: argparse.Namespace) -> int:
    from bench import inventory

    there = inventory.hosts()
    if arguments.json:
        _emit([{"name": name, "address": found.address, "emulated": found.emulated} for name, found in there.items()])
        return 0
    for name, found in there.items():
        where = "this machine" if found.entry is None else found.address
        _say(f"{name:16} {where}{'  (emulated host)' if found.emulated else ''}")
    if len(there) == 1:
        _say(f"others are named in {inventory.place()}, or come up with ./tare lab up")
    return 0


def _host_trust(arguments: argparse.Namespace) -> int:
    from bench import host, inventory

    def approve(name: str, told: str) -> bool:
        if arguments.fingerprint:
            return bool(told.split()[-1] == arguments.fingerprint)
        _say(f"{name} shows {told}")
        try:
            return input("Is that its own key? Type yes: ").strip() == "yes"
        except EOFError:  # nobody is there to be asked
            return False

    told = host.trust(inventory.find(arguments.name), approve)
    _say(f"{told}: trusted" if told else f"{arguments.name}'s key is known already")
    return 0


def _selfbench(arguments: argparse.Namespace) -> int:
    from bench import selfbench

    unknown = set(arguments.parts) - set(selfbench.PARTS)
    if unknown:
        raise InputError(f"selfbench has no part {sorted(unknown)[0]!r}", hint=f"one of: {', '.join(selfbench.PARTS)}")
    results = []
    found = (
        selfbench.slots_of(arguments.host)
        if arguments.host
        else selfbench.measure(arguments.parts or list(selfbench.PARTS))
    )
    for result in found:
        results.append(result)
        if not arguments.json:
            _say(result)
    if arguments.json:
        _emit([result.as_dict() for result in results])
    return 0


def _kernel_list(arguments: argparse.Namespace) -> int:
    from bench import kernels, show

    if arguments.remote:
        packages = kernels.offered()
        if arguments.json:
            _emit([{"package": p.name, "version": p.version, "size": p.size, "sha256": p.sha256} for p in packages])
        else:
            show.packages(packages, kernels.available())
    elif arguments.json:
        _tell_kernels(kernels.available(), True)
    else:
        show.kernels(kernels.available())
    return 0


def _kernel_fetch(arguments: argparse.Namespace) -> int:
    from bench import kernels, progress

    wishes = [kernels.parse(name) for name in arguments.names]
    for wish in wishes:
        if wish.form not in ("release", "package"):
            raise InputError(f"{wish} is no kernel package to fetch", hint="a release, or linux-image-…")
    with progress.Screen() as screen:
        found = [kernels.prepare(wish, "machine", screen.preparing) for wish in wishes]
        found = found or [kernels.fetch(tell=screen.preparing)]
    _tell_kernels(found, arguments.json)
    return 0


def _kernel_build(arguments: argparse.Namespace) -> int:
    from bench import config, debian, kernels, lock, progress

    wish = kernels.parse(arguments.source)
    kernels.check_kind(wish, "uml")
    if wish.form != "source":
        raise InputError(f"{wish} is no source package", hint="like linux-source-6.1; ./tare kernel list --remote")
    options = config.read_options(arguments.config) if arguments.config else {}
    if arguments.name is not None:
        options = kernels.named(options, arguments.name)
    wish = kernels.Wish("source", wish.name, wish.version or debian.find(wish.name).version, options)
    found = kernels.find(wish, "uml")
    if found is None:
        # A build would disturb a campaign, and what it starts must be found if it is killed.
        with (
            progress.Screen() as screen,
            lock.occupy("tare kernel build", lambda removed: None, screen.warned),
        ):
            found = kernels.prepare(wish, "uml", screen.preparing)
    _tell_kernels([found], arguments.json)
    return 0


def _tell_kernels(found: list[kernels.Kernel], as_json: bool) -> None:
    if as_json:
        _emit([kernel.facts() | {"image": str(kernel.image), "size": kernel.size} for kernel in found])
    else:
        for kernel in found:
            _say(f"{kernel.release} {kernel.image}")


def _lab_build(arguments: argparse.Namespace) -> int:
    from bench import lab, lock, progress

    recipes = lab.recipes(arguments.names)
    with lock.hold(), progress.Screen() as screen:  # it would disturb a campaign
        tell = partial(screen.preparing, what="lab")
        for recipe in recipes:
            lab.build(recipe, tell, again=arguments.again)
    return _tell_lab(recipes, arguments.json)


def _lab_up(arguments: argparse.Namespace) -> int:
    from bench import lab, lock, progress

    recipes = lab.recipes(arguments.names)
    with lock.hold(), progress.Screen() as screen:  # as a build
        tell = partial(screen.preparing, what="lab")
        for recipe in recipes:
            lab.build(recipe, tell)
        for recipe in recipes:
            _, before = lab.up(recipe, tell)
            if before:
                screen.say(f"{recipe.name}: already up")
    return _tell_lab(recipes, arguments.json)


def _lab_down(arguments: argparse.Namespace) -> int:
    from bench import lab, progress

    recipes = lab.recipes(arguments.names)
    with progress.Screen() as screen:
        tell = partial(screen.preparing, what="lab")
        for recipe in recipes:
            was = lab.down(recipe, tell)
            screen.say(f"{recipe.name}: down" if was else f"{recipe.name}: was not up")
    return _tell_lab(recipes, True) if arguments.json else 0


def _lab_ssh(arguments: argparse.Namespace) -> int:
    from bench import lab

    argv = lab.ssh_argv(lab.host(arguments.name)) + arguments.words
    os.execv(argv[0], argv)


def _lab_status(arguments: argparse.Namespace) -> int:
    from bench import lab

    return _tell_lab(lab.recipes(arguments.names), arguments.json)


def _tell_lab(recipes: Sequence[Recipe], as_json: bool) -> int:
    from bench import lab, show

    conditions = [lab.condition(recipe) for recipe in recipes]
    if as_json:
        _emit([condition.as_dict() for condition in conditions])
    else:
        show.lab_hosts(conditions)
    return 0


if __name__ == "__main__":
    import runpy

    runpy.run_module("bench", run_name="__main__")
