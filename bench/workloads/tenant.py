"""A request as a small server's: five processes, a digest, some memory, and 64 KiB flushed to the data disk."""

from __future__ import annotations

disk = True
argv = (
    "/bin/busybox",
    "sh",
    "-c",
    "n=0; while [ $n -lt 5 ]; do /bin/true; n=$((n+1)); done; "
    "head -c 262144 /dev/zero | sha256sum >/dev/null && "
    "head -c 32768 /dev/zero | tr '\\0' '\\n' | sort >/dev/null && "
    "dd if=/dev/zero of=/data/tenant bs=64k count=1 conv=fsync 2>/dev/null",
)
