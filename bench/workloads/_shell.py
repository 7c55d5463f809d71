"""Pieces of the shell lines that start a server and ask it. A word of a command has no line ends."""

#: Guests have it down at first; where it is up already, or may not be changed, that is no failure.
LOOPBACK = "ip link set lo up 2>/dev/null; "


def until(condition: str) -> str:
    """Waits for a condition, 5 s at most: whoever needs it says that it is not so."""
    return f"i=0; until {condition} || [ $i -ge 50 ]; do sleep 0.1; i=$((i+1)); done; "
