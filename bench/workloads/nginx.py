"""nginx answers eight connections of wrk's over the loopback for a second: an application of sockets and wake-ups."""

from __future__ import annotations

from bench.workloads import Reading
from bench.workloads._read import figure, one, positive
from bench.workloads._shell import LOOPBACK, OWN, serve, until

rootfs = "debian"
area = "applications"
_HERE = f"/tmp/nginx-{OWN}"
# The shell puts in what has a $.
_CONFIG = (
    f"user root; daemon on; pid {_HERE}.pid; error_log stderr; events {{}} "
    f"http {{ access_log off; client_body_temp_path {_HERE}.b; proxy_temp_path {_HERE}.p; "
    f"fastcgi_temp_path {_HERE}.f; uwsgi_temp_path {_HERE}.u; scgi_temp_path {_HERE}.s; "
    r"server { listen 127.0.0.1:$p; location / { return 200 \"hello\\n\"; } } }"
)
_NGINX = f"/usr/sbin/nginx -c {_HERE}.conf"
# What the daemon may say late would be in the next command's output. It listens before its first process ends well.
argv = (
    "/bin/sh",
    "-c",
    LOOPBACK
    + serve(
        f"printf '%s\\n' \"{_CONFIG}\" >{_HERE}.conf; {_NGINX} 2>{_HERE}.log; r=$? d=",
        "[ $r = 0 ]",
        f"{_HERE}.log",
    )
    + "wrk -t1 -c8 -d1s --latency http://127.0.0.1:$p/; s=$?; "
    f"{_NGINX} -s quit 2>/dev/null; " + until(f"[ ! -e {_HERE}.pid ]") + "exit $s",
)
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def parse(output: str) -> list[Reading]:
    for trouble in ("Socket errors", "Non-2xx"):
        if trouble in output:
            raise ValueError(f"{one(f'^.*{trouble}.*$', output)[0].strip()!r}: not every request was answered")
    rate = figure(r"^Requests/sec: +(\d+\.\d+)$", output)
    p99 = one(r"^ +99% +(\d+\.\d+)(us|ms|s)$", output)
    return [
        Reading("rate", rate, "operation/s", higher=True),
        Reading("p99", positive(p99[1]) * _UNITS[p99[2]], "second"),
    ]
