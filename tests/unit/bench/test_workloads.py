"""Workloads' parsers on what the real programs print, and on what they do not."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import process, workloads
from bench.errors import InputError
from bench.workloads import _clock, _shell

ZEROS = 16 << 20
OUTPUTS = Path(__file__).parent / "outputs"
#: What the real tools printed, as readings: metric → value, unit, and whether more is better.
READ: dict[str, dict[str, tuple[float, str, bool]]] = {
    "perf_syscall": {"call": (0.132240e-6, "second", False)},
    "perf_pipe": {"op": (3.114800e-6, "second", False)},
    "perf_messaging": {"total": (0.101, "second", False)},
    "perf_memcpy": {"rate": (7.470358 * 2**30, "byte/s", True)},
    "sysbench_cpu": {"rate": (1906.37, "operation/s", True)},
    "sysbench_memory": {"rate": (3149.69 * 2**20, "byte/s", True)},
    "sysbench_threads": {"rate": (776 / 1.0051, "operation/s", True)},
    "sysbench_mutex": {"total": (0.0218, "second", False)},
    "cyclictest": {"mean": (13e-6, "second", False), "worst": (257e-6, "second", False)},
    "hackbench": {"total": (0.106, "second", False)},
    "fio": {"rate": (302.788845, "operation/s", True), "p99": (26752e-9, "second", False)},
    "iperf3": {"rate": (35855824980.270317 / 8, "byte/s", True)},
    "link_send": {"rate": (20089345276.241383 / 8, "byte/s", True)},
    "link_receive": {"rate": (19953207936.138107 / 8, "byte/s", True)},
    "link_latency": {"time": (40.6e-6, "second", False)},
    "redis_serving": {"get": (19230.77, "operation/s", True), "get_p99": (0.135e-3, "second", False)},
    "redis": {
        "set": (75757.58, "operation/s", True),
        "set_p99": (0.159e-3, "second", False),
        "get": (69444.45, "operation/s", True),
        "get_p99": (0.159e-3, "second", False),
    },
    "nginx": {"rate": (9883.23, "operation/s", True), "p99": (34.55e-3, "second", False)},
    "sqlite": {"insert": (0.314, "second", False)},
}
#: Where their figures stand; with anything else there, nothing may be read.
FIGURES = [
    ("perf_syscall", "0.132240"),
    ("perf_pipe", "3.114800"),
    ("perf_messaging", "0.101"),
    ("perf_memcpy", "7.470358"),
    ("sysbench_cpu", "1906.37"),
    ("sysbench_memory", "3149.69"),
    ("sysbench_threads", "1.0051"),
    ("sysbench_mutex", "0.0218"),
    ("sysbench_threads", "events:              776", "events:              0"),
    ("cyclictest", "Avg:   13", "Avg:    0"),
    ("cyclictest", "Max:     257", "Max:     0"),
    ("hackbench", "0.106"),
    ("fio", "302.788845"),
    ("fio", "302.788845", "NaN"),
    ("fio", "302.788845", "Infinity"),
    ("fio", "302.788845", "-302.788845"),
    ("fio", "302.788845", "true"),
    ("fio", '"99.000000" : 26752', '"99.000000" : 0'),
    ("fio", '"99.000000"', '"98.000000"'),
    ("fio", '"error" : 0', '"error" : 28'),
    ("iperf3", "35855824980.270317"),
    ("iperf3", "sum_received", "sum"),
    ("link_send", "20089345276.241383"),
    ("link_receive", "sum_received", "sum"),
    ("link_latency", "40.6"),
    ("link_latency", " us", " parsecs"),
    ("link_latency", "tcp_lat", "udp_lat"),
    ("redis_serving", '"GET"', '"SET"'),
    ("redis_serving", "p99_latency_ms", "p90_latency_ms"),
    ("redis", "75757.58"),
    ("redis", "75757.58", "nan"),
    ("redis", '"0.119","0.159","6.647"', '"0.119","0.000","6.647"'),
    ("redis", '"GET"', '"PING"'),
    ("redis", "p99_latency_ms", "p90_latency_ms"),
    ("nginx", "9883.23"),
    ("nginx", "99%   34.55ms", "99%    0.00us"),
    ("nginx", "Requests/sec", "  Socket errors: connect 0, read 3, write 0, timeout 0\nRequests/sec"),
    ("nginx", "Requests/sec", "  Non-2xx or 3xx responses: 12\nRequests/sec"),
    ("sqlite", "20000|800000", "20000|799999"),
    ("sqlite", "real 0.050 user", "real nan user"),
]


def canned(name: str) -> str:
    return (OUTPUTS / f"{name}.txt").read_text()


def test_every_tool_has_an_output_of_its_own() -> None:
    with_tools = {name for name in workloads.names() if workloads.load(name).rootfs == "debian"}
    assert with_tools == set(READ) == {file.stem for file in OUTPUTS.iterdir()}
    assert not [name for name in workloads.names() if name.startswith("_")]


@pytest.mark.parametrize("name", READ)
def test_what_the_real_tool_printed(name: str) -> None:
    found = workloads.load(name).parse(canned(name))
    assert {each.metric: (each.unit, each.higher) for each in found} == {
        metric: (unit, higher) for metric, (_, unit, higher) in READ[name].items()
    }
    assert [each.value for each in found] == pytest.approx([value for value, _, _ in READ[name].values()], rel=1e-12)


@pytest.mark.parametrize("name", READ)
def test_what_is_no_output_of_the_tool(name: str) -> None:
    whole, parse = canned(name), workloads.load(name).parse
    for output in ("", "sh: 1: tool: not found\n", "\ufffd", whole[: len(whole) // 2], whole + whole):
        with pytest.raises(ValueError, match=r"\S"):
            parse(output)


@pytest.mark.parametrize("case", FIGURES, ids=lambda case: f"{case[0]} {' '.join(case[1:])}")
def test_a_figure_that_is_none(case: tuple[str, ...]) -> None:
    name, there, instead = case if len(case) == 3 else (*case, "0.000000")
    output = canned(name)
    assert there in output
    with pytest.raises(ValueError, match=r"\S"):
        workloads.load(name).parse(output.replace(there, instead))


def test_times_that_are_all_zero() -> None:
    output = "".join(
        f"{line}\n" if "|" in line else "Run Time: real 0.000 user 0.000000 sys 0.000000\n"
        for line in canned("sqlite").splitlines()
    )
    with pytest.raises(ValueError, match="above zero"):
        workloads.load("sqlite").parse(output)


@pytest.mark.parametrize(
    ("printed", "rate"), [("12.5 MB/sec", 12.5 * 2**20), ("900.25d KB/sec", 900.25 * 2**10), ("2.0 GB/sec", 2.0**31)]
)
def test_the_units_of_perf(printed: str, rate: float) -> None:
    (reading,) = workloads.load("perf_memcpy").parse(canned("perf_memcpy").replace("7.470358 GB/sec", printed))
    assert reading.value == pytest.approx(rate)


@pytest.mark.parametrize(("printed", "seconds"), [("812.00us", 812e-6), ("1.02s", 1.02)])
def test_the_units_of_wrk(printed: str, seconds: float) -> None:
    found = workloads.load("nginx").parse(canned("nginx").replace("34.55ms", printed))
    assert found[1].value == pytest.approx(seconds)


def test_fio_may_warn_first() -> None:
    found = workloads.load("fio").parse("fio: this platform does not support process shared mutexes\n" + canned("fio"))
    assert found == workloads.load("fio").parse(canned("fio"))


@pytest.mark.parametrize("name", [name for name in READ if workloads.load(name).argv[0] == "/bin/sh"])
def test_the_shell_can_read_it(name: str) -> None:
    """It is read, not run."""
    subprocess.run(["sh", "-n", "-c", workloads.load(name).argv[2]], check=True, timeout=30)


#: Listens on a port of the loopback as redis-server does, says so, and stays; the port is the first word.
_LISTENER = """
import socket, sys, time
with socket.socket() as listener:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(sys.argv[1])))
    listener.listen()
    print("listening", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def stranger(port: int) -> Iterator[socket.socket]:
    """Somebody else's server."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        listener.setblocking(False)
        yield listener


@pytest.mark.parametrize("seen", [True, False])
def test_a_server_gets_a_port_that_nobody_has(seen: bool, tmp_path: Path) -> None:
    """Also where a port is taken between the look for one and the start."""
    log, listener = tmp_path / "log", tmp_path / "listener.py"
    listener.write_text(_LISTENER)
    script = _shell.serve(f"{sys.executable} {listener} $p >{log} 2>&1 & d=$!", f"grep -qs listening {log}", str(log))
    if not seen:
        script = script.replace("/proc/net/tcp", str(tmp_path / "nothing"))
    init = os.getpid() % 10000  # so that other tests' are others
    port = 20000 + init
    with stranger(port) as first, stranger(port + 1) as second:
        done = subprocess.run(
            ["sh", "-c", script + "echo $p; kill $d"],
            env={**os.environ, "TARE_INIT": str(init)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done
        assert int(done.stdout) >= port + 2
        for each in (first, second):  # nobody has talked to them
            with pytest.raises(BlockingIOError):
                each.accept()


def test_a_server_that_never_listens_ends_the_command_with_its_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = _shell.serve(f"(echo no room; exit 3) >{log} 2>&1 & d=$!", f"grep -qs listening {log}", str(log))
    done = subprocess.run(["sh", "-c", script + "echo never"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "no room\n")


@pytest.mark.parametrize("name", workloads.names())
def test_no_workload_talks_to_a_port_that_others_may_have(name: str) -> None:
    """But those that talk to their peer, in a network of their own."""
    workload = workloads.load(name)
    if not workload.peer:
        ports = re.findall(r"(?:-p|--port|:)[ =]?([1-9]\d{3,4})\b", " ".join(workload.argv))
        assert ports == []


def test_the_clock_around_a_command() -> None:
    words = _clock.wrapped(["/bin/sh", "-c", "echo 'a  b'; echo; exit 3"])
    assert not any("\n" in word for word in words)
    ran = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False, timeout=30)
    timed = _clock.split(ran.stdout)
    assert (ran.returncode, timed.output) == (3, "a  b\n\n")
    assert 0 < timed.seconds < 30


@pytest.mark.parametrize(
    ("output", "timed"),
    [
        ("1795390412000000000\n1795390412250000000\n", ("", 0.25)),
        ("1795390412000000000\n\n1795390412250000000\n", ("\n", 0.25)),
        ("1795390412000000000\n12345678901\nx\n1795390413000000000\n", ("12345678901\nx\n", 1.0)),
        ("9900000000\nx\n10100000000\n", ("x\n", 0.2)),  # a guest without a clock of its own starts in 1970
        ("1795390412000000000\nx\n1795390411000000000\n", ("x\n", -1.0)),
    ],
)
def test_what_is_between_two_looks_at_the_clock(output: str, timed: tuple[str, float]) -> None:
    found = _clock.split(output)
    assert (found.output, found.seconds) == (timed[0], pytest.approx(timed[1]))


@pytest.mark.parametrize(
    "output",
    [
        "",
        "1795390412000000000\n",
        "1795390412%N\nx\n1795390413%N\n",
        "x\n1795390412000000000\nx\n1795390413000000000\n",
        "1795390412000000000\nx\n1795390413000000000\nlate\n",
        "1795390412000000000\nno end of line1795390413000000000\n",
    ],
    ids=["nothing", "one look", "a date that knows no %N", "something before", "something after", "no end of line"],
)
def test_what_is_not_between_two_looks_at_the_clock(output: str) -> None:
    with pytest.raises(ValueError, match="nanoseconds"):
        _clock.split(output)


def test_how_far_a_clock_is_off() -> None:
    nothing = [(0.012, 0.010), (0.014, 0.010)]
    assert _clock.ratio([(1.003, 1.0)], nothing) == pytest.approx(1.0), "within what the wrapper may have cost"
    assert _clock.ratio([(1.013, 1.0)], nothing) == pytest.approx(1 / 1.009), "its dearest run"
    assert _clock.ratio([(1.002, 1.03)], nothing) == pytest.approx(1.03), "its cheapest run"
    assert _clock.ratio([(1.004, 0.5)], nothing) == pytest.approx(0.5)
    assert _clock.ratio([(0.303, 0.3), (0.903, 0.9)], nothing) == pytest.approx(1.0)
    assert _clock.ratio([(0.2, 0.1)], nothing) is None
    assert _clock.ratio([(0.001, 0.1)], nothing) is None
    assert _clock.ratio([], nothing) is None


def test_sha256_of_what_it_hashes() -> None:
    """The right answer, worked out by another program."""
    digest = hashlib.sha256(bytes(ZEROS)).hexdigest()
    assert workloads.load("sha256").parse(f"{digest}  -\n") == []


def test_sha256_as_this_hosts_busybox_prints_it() -> None:
    workload = workloads.load("sha256")
    assert str(ZEROS) in workload.argv[2]
    words = [process.require("busybox", "busybox-static"), "sh", *workload.argv[1:]]
    ran = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True, timeout=30)
    assert workload.parse(ran.stdout) == []


@pytest.mark.parametrize(
    "output",
    ["", "sha256sum: not found\n", f"{'0' * 64}  -\n", hashlib.sha256(bytes(ZEROS)).hexdigest()[:60], "\ufffd"],
    ids=["nothing", "an error", "a wrong answer", "cut off", "garbage"],
)
def test_sha256_on_garbage(output: str) -> None:
    with pytest.raises(ValueError, match="is not the digest"):
        workloads.load("sha256").parse(output)


def test_true_reads_nothing() -> None:
    assert workloads.load("true").parse("anything") == []


@pytest.mark.parametrize("name", workloads.names())
def test_every_workload_is_a_command_in_the_rootfs(name: str) -> None:
    workload = workloads.load(name)
    assert workload.name == name
    assert workload.argv[0].startswith(("/bin/", "/usr/bin/"))
    assert all("\n" not in word for word in workload.argv)


def test_an_unknown_workload_is_told_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"no workload 'bonnie'.*sha256, sqlite"):
        workloads.load("bonnie")
