"""What a worker, an agent or a cluster's job may answer: known fields of known types, and nothing else.

Whatever answers may be of another version, damaged, or hostile. A new field of a slot's answer is a line in Slot (or in
Seen, Sample), and one of what a host tells about itself is a line in Host: what is not named here is refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from bench import errors
from bench.errors import HostError, TareError

#: The longest line that an answer may be, bytes.
LONGEST = 32 << 20

#: What files.parse_json() reads again.
Int = Annotated[int, Meta(ge=-(2**63 - 1), le=2**63 - 1)]
Float = Annotated[float, Meta(gt=-(2.0**63), lt=2.0**63)]
Number = Int | Float
#: Nothing that is to be read is longer.
Text = Annotated[str, Meta(max_length=1 << 16)]
Seconds = Annotated[float, Meta(ge=0, le=1e12)]

Form = TypeVar("Form")


class InvalidAnswer(HostError):
    """An answer that has not the form which was asked for."""


class _Strict(Struct, forbid_unknown_fields=True):
    """No other field is taken."""


class Sample(_Strict):
    """See bench.session.Sample."""

    metric: Text
    values: list[Number]
    unit: Literal["second", "byte", "integer", "instruction", "operation/s", "byte/s", "ratio"]
    better: Literal["lower", "higher"]
    warmups: list[Number] = []
    clock: Number | UnsetType | None = UNSET


class Seen(_Strict):
    """What an instance sees at READY: see bench.seen. Nothing where no instance was asked."""

    kernel: Text | UnsetType | None = UNSET
    cpus: Int | UnsetType | None = UNSET
    memory: Int | UnsetType | None = UNSET
    rootfs: Text | UnsetType | None = UNSET
    clocksource: Text | UnsetType | None = UNSET
    disk: Text | UnsetType | None = UNSET
    mounts: list[Text] | UnsetType = UNSET
    mitigations: dict[Text, Text] | UnsetType = UNSET
    seccomp: Int | UnsetType | None = UNSET
    no_new_privs: Int | UnsetType | None = UNSET
    apparmor: Text | UnsetType | None = UNSET
    capabilities: list[Text] | UnsetType | None = UNSET
    bounding: list[Text] | UnsetType | None = UNSET
    open_files: Text | UnsetType | None = UNSET
    read_only: list[Text] | UnsetType | None = UNSET
    masked: list[Text] | UnsetType | None = UNSET
    link_device: Text | UnsetType | None = UNSET
    link: Text | UnsetType | None = UNSET


class Load(_Strict):
    """How busy a host was beside a slot; None where it does not tell."""

    before: Number | None
    after: Number | None
    steal: Number | None
    pressure: dict[Text, Number]


class Slot(_Strict):
    """What a worker found in a slot: see bench.worker. What it does not tell is left out."""

    status: Literal["ok", "failed", "timeout"]
    reason: Text | None
    wall_s: Seconds | UnsetType = UNSET
    marks: dict[Text, Int] | UnsetType = UNSET
    samples: list[Sample] | UnsetType = UNSET
    cpu_s: Number | UnsetType | None = UNSET
    memory: dict[Text, Int | None] | UnsetType = UNSET
    seen: Seen | UnsetType = UNSET
    caged: bool | UnsetType = UNSET
    memory_limit: Int | UnsetType | None = UNSET
    console: Text | UnsetType = UNSET
    unfinished: dict[Text, Text] | UnsetType = UNSET
    ramp: list[dict[Text, Number | None]] | UnsetType = UNSET
    stop: Text | UnsetType | None = UNSET
    clock_jump_s: Number | UnsetType = UNSET
    stalled_s: Number | UnsetType = UNSET
    stopped: bool | UnsetType = UNSET
    load: Load | UnsetType = UNSET


class Host(_Strict):
    """See bench.facts.host()."""

    name: Text
    cpu: Text | None
    microcode: Text | None
    cores: Int | None
    memory: Int | None
    kernel: Text
    boot_id: Text | None
    clocksource: Text | None
    mitigations: dict[Text, Text | None]
    governor: Text | None
    virtualised: bool
    thp: Text | None
    ksm: Text | None
    distribution: Text | None
    load: Text | None
    counters: Text | None
    swap: Int | UnsetType | None = UNSET
    read_only: list[Text] | UnsetType = UNSET
    machine: Text | UnsetType | None = UNSET
    board: Text | UnsetType | None = UNSET
    emulated: bool | UnsetType = UNSET


class Facts(_Strict):
    """See bench.crew.Crew.facts()."""

    host: Host
    tools: dict[Text, Text | None]
    user: Text
    python: Text
    cgroup: Text
    cage: dict[Text, Text | None]
    notes: list[Text]


class Hello(_Strict):
    """A host that is held for us. cleaned: kind and name of each thing that was removed there; resisting: what of dead
    runs could not be."""

    host: Host
    cleaned: list[tuple[Text, Text]]
    resisting: list[Text] = []
    run: Text | UnsetType = UNSET


class Cleaned(_Strict):
    """A host that was cleaned: kind and name of each thing that was removed there, and what could not be."""

    removed: list[tuple[Text, Text]]
    resisting: list[Text] = []


class Probe(_Strict):
    """reason: why an arm does not run there; None where it does."""

    reason: Text | None


#: Why arms cannot take measures there: by arm, and by measure.
Lacking = dict[Text, dict[Text, Text]]


class Loaded(_Strict):
    """A kernel that a host's next kexec boots. runs: whether it runs already; version: its `uname -v`, if known."""

    runs: bool
    version: Text | None


class Bye(_Strict):
    """left: what of the run could not be removed."""

    left: list[Text]


class _Failure(_Strict):
    """See bench.agent.failure()."""

    kind: Text
    what: Text
    detail: Text
    hint: Text

    def error(self) -> TareError:
        """As it was raised there, if it is of a kind that is raised here."""
        named: object = getattr(errors, self.kind, None)
        kind = named if isinstance(named, type) and issubclass(named, TareError) else HostError
        return kind(self.what, detail=self.detail, hint=self.hint)


class Answer(_Strict):
    """A line of answers. to: the request's number; at: when a job began with it, seconds since 1970."""

    to: Annotated[int, Meta(ge=0, le=2**53)]
    at: Seconds | UnsetType = UNSET
    ok: Raw | UnsetType = UNSET
    failure: _Failure | UnsetType = msgspec.field(name="error", default=UNSET)

    @property
    def error(self) -> TareError | None:
        """What the request failed of."""
        return None if self.failure is UNSET else self.failure.error()

    def read(self, form: type[Form]) -> Form:
        """What was answered, which has this form. Raises InvalidAnswer, and the TareError that was the answer."""
        if error := self.error:
            raise error
        assert self.ok is not UNSET
        return _decode(self.ok, form)


def parse(line: bytes) -> Answer:
    """A line of answers. Raises InvalidAnswer."""
    answer = _decode(line, Answer)
    if (answer.ok is UNSET) == (answer.failure is UNSET):
        raise InvalidAnswer(f"neither an answer nor an error: {line[:100]!r}")
    return answer


def _decode(text: bytes | Raw, form: type[Form]) -> Form:
    try:
        return msgspec.json.decode(text, type=form)
    except (ValueError, RecursionError) as error:
        raise InvalidAnswer(f"an answer of another form than was asked for: {error} ({bytes(text)[:100]!r})") from error


def slot(found: object) -> dict[str, Any]:
    """What a worker found in a slot, with all that it tells and nothing else. Raises InvalidAnswer."""
    try:
        told: dict[str, Any] = msgspec.to_builtins(msgspec.convert(found, Slot))
    except (ValueError, RecursionError) as error:
        raise InvalidAnswer(f"the slot was answered in another form than is known: {error}") from error
    return told


def plain(told: Struct) -> dict[str, Any]:
    """An answer as records have it."""
    found: dict[str, Any] = msgspec.to_builtins(told)
    return found
