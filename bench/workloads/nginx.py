"""nginx answers eight connections of wrk's over the loopback for a second: an application of sockets and wake-ups."""

from __future__ import annotations

from bench.workloads import Reading
from bench.workloads._read import figure, one, positive
from bench.workloads._shell import LOOPBACK, until

rootfs = "debian"
area = "applications"
_CONFIG = (
    "user root; daemon on; pid /tmp/nginx.pid; error_log stderr; events {} "
    "http { access_log off; client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f; "
    "uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s; "
    'server { listen 127.0.0.1:8099; location / { return 200 "hello\\n"; } } }'
)
# What the daemon may say late would be in the next command's output. It listens before its first process ends.
argv = (
    "/bin/sh",
    "-c",
    LOOPBACK
    + f"printf '%s\\n' '{_CONFIG}' >/tmp/nginx.conf; "
    + "/usr/sbin/nginx -c /tmp/nginx.conf 2>/tmp/nginx.log || { s=$?; cat /tmp/nginx.log; exit $s; }; "
    "wrk -t1 -c8 -d1s --latency http://127.0.0.1:8099/; s=$?; "
    "/usr/sbin/nginx -c /tmp/nginx.conf -s quit 2>/dev/null; " + until("[ ! -e /tmp/nginx.pid ]") + "exit $s",
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
