"""Pieces of the shell lines that start a server and ask it. A word of a command has no line ends."""

#: Guests have it down at first; where it is up already, or may not be changed, that is no failure.
LOOPBACK = "ip link set lo up 2>/dev/null; "
#: What an instance without a /tmp or a network of its own shares it with others under.
OWN = "${TARE_INIT:-1}"
_TRIES = 5


def until(condition: str) -> str:
    """Waits for a condition, 5 s at most: whoever needs it says that it is not so."""
    return f"i=0; until {condition} || [ $i -ge 50 ]; do sleep 0.1; i=$((i+1)); done; "


def serve(start: str, proof: str, log: str) -> str:
    """Starts a server, as process $d, on a port that nobody has, $p: an instance may share the ports of its host.

    start: writes into log, sets $d. proof: true when this very server listens: that a port answers says nothing, for
    whoever answers may be somebody else's. Where there is none, the log is all that the command says, and it fails.
    """
    taken = 'grep -qs ":$(printf %04X $p) 0*:0000 0A" /proc/net/tcp /proc/net/tcp6'
    return (
        f"p=$((20000 + {OWN} % 10000)); n=0; while :; do while {taken}; do p=$((p+1)); done; rm -f {log}; {start}; "
        + until(f"{proof} || ! kill -0 $d 2>/dev/null")
        + f"{proof} && break; kill $d 2>/dev/null; wait $d; n=$((n+1)); p=$((p+1)); "
        f"[ $n -lt {_TRIES} ] || {{ cat {log}; exit 1; }}; done; "
    )
