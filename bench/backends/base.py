"""What a backend is. One file each in this folder, found by its name, with `_` for `-`; its `class Backend` is it.

A backend whose instances are commands on this host (container runtimes, UML) derives from CommandBackend in
_command.py and mostly says which argument vector to run. Everything here runs in the slot worker: standard library
only.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import typing
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from bench import cpio
from bench.cage import Cage
from bench.channel import Channel, Reply
from bench.errors import InputError
from bench.link import Link
from bench.state import Run

Family = Literal["process", "container", "hypervisor", "uml"]
Guest = Literal["linux", "firmware"]
#: Kernels: what a machine's firmware or VMM loads (bzImage, vmlinux), or a User-Mode Linux program.
KernelKind = Literal["machine", "uml"]
Accelerator = Literal["tcg", "kvm", "xen"]
NAME_PREFIX = "tare-"


@dataclass(frozen=True)
class Rootfs:
    """One tree, packed as each family needs it; all packings carry the tree's digest.

    on_disk: whether guests have it as a read-only disk, since it is too large to be kept in their memory; initramfs is
    then what leads there (see loader.sh).
    """

    digest: str
    tree: Path
    initramfs: Path
    ext4: Path
    on_disk: bool = False


@dataclass(frozen=True)
class Drive:
    """A disk of a guest's: an image file; what the guest calls it; whether it may only read."""

    image: Path
    device: str
    readonly: bool


@dataclass(frozen=True)
class Interface:
    """A guest's end of its link: what its kernel calls it; what kind of device that is; what is behind it, if that is
    not a tap of the link's name but a device where the host's own are."""

    name: str
    kind: str
    behind: str | None = None


@dataclass(frozen=True)
class GuestKernel:
    """What an arm boots. drivers: a cpio archive with those of its modules by which a guest finds its disk and link."""

    image: Path
    drivers: Path | None = None


@dataclass(frozen=True)
class Order:
    """What to provision. folder is a private, empty directory of the instance; memory is in bytes."""

    name: str
    folder: Path
    rootfs: Rootfs
    cpus: int
    memory: int
    kernel: GuestKernel | None = None
    guest: Guest = "linux"
    #: What is to be /data inside, if anything: the image of a disk, or, for who has no kernel, a folder of the host's.
    disk: Path | None = None
    data: Path | None = None
    #: The way to its peer, if it is to have one: who has a kernel gets a tap of that name, the others are given an end.
    link: Link | None = None
    #: Commands that the init runs right after READY, before it listens (only where the backend counts).
    requests: Sequence[Sequence[str]] = ()
    #: The host's CPUs to run on, for backends whose instances no cage holds to them.
    cpu_set: frozenset[int] = frozenset()


def drives(order: Order, prefix: str) -> list[Drive]:
    """A guest's disks in their order, the root first, named like /dev/PREFIXa: of each there is one or none."""
    images = [(order.rootfs.ext4, True)] if order.rootfs.on_disk and order.guest == "linux" else []
    if order.disk:
        images.append((order.disk, False))
    return [Drive(image, f"/dev/{prefix}{'ab'[place]}", readonly) for place, (image, readonly) in enumerate(images)]


def root_argument(disks: Sequence[Drive]) -> list[str]:
    """What tells loader.sh, as an argument of the guest's kernel, where the root is; nothing where it is no disk."""
    return [f"TARE_ROOT={drive.device}" for drive in disks if drive.readonly]


def data_device(disks: Sequence[Drive]) -> str | None:
    """The data disk, if there is one."""
    return next((drive.device for drive in disks if not drive.readonly), None)


@dataclass(frozen=True)
class Counts:
    """Instructions executed since the machine was switched on.

    At the guest kernel's first byte, at the last byte of the init's INIT and READY, and at the last of each request's
    answer.
    """

    kernel: int
    init: int
    ready: int
    answers: Sequence[int]


class Instance(ABC):
    """One container or guest: provisioned, then started, used and taken away.

    marks: name → host monotonic ns; `requested` to `ready` are there after start(), `stopping` and `gone` after
    stop() or kill(). Deadlines are time.monotonic() seconds. Every method raises InstanceError (InstanceTimeout at the
    deadline); whatever happened, kill() removes everything and may be called twice.
    """

    channel: Channel
    #: Whether a guest has to load the drivers that it finds in its initramfs; loader.sh has done so where it was one.
    loads: bool = False
    #: What a guest's kernel calls the data disk, to be mounted by it; None where it is at /data from the start.
    disk: str | None = None
    #: A guest's end of the link; None where it is given one.
    interface: Interface | None = None

    def __init__(self, order: Order, cage: Cage | None) -> None:
        self.order = order
        self.cage = cage
        self.marks: dict[str, int] = {}
        #: CPU seconds of the cage when READY was heard.
        self.cpu_at_ready: float | None = None
        #: After start(), where the backend counts: what was counted, and the answers to the order's requests.
        self.counts: Counts | None = None
        self.replies: list[Reply] = []

    @abstractmethod
    def start(self, deadline: float) -> None:
        """Request it and wait for READY."""

    @abstractmethod
    def stop(self, deadline: float) -> None:
        """The orderly end: the init is told to halt; returns when every process is reaped and nothing is left."""

    @abstractmethod
    def kill(self, deadline: float) -> None:
        """The forced end."""

    @abstractmethod
    def pids(self) -> list[int]:
        """All host processes of the instance; none where it is not made of processes."""

    def allotted(self) -> int | None:
        """Memory that a hypervisor below this host has given it, bytes; None where all that it has is this host's."""
        return None

    def ram(self) -> int | None:
        """How much of a guest's memory has been touched, as the processes of this host have it, bytes; None where there
        is no guest, or nothing to be seen of it here."""
        return None

    def ask_to_end(self) -> None:
        """Before dismiss(), so that many may end at the same time."""

    def dismiss(self, deadline: float) -> None:
        """The quickest end that leaves nothing behind, where nobody measures it."""
        self.kill(deadline)

    def call(self, argv: Sequence[str], deadline: float) -> Reply:
        """Run a command by the init inside."""
        return self.channel.call(argv, deadline)

    def exec(self, argv: Sequence[str], deadline: float) -> Reply:
        """Run a command through the runtime's own door (only where Backend.door names one)."""
        raise NotImplementedError

    def console(self) -> str:
        """What it said outside the channel's protocol: the reason of a failure is usually there."""
        return self.channel.console() if hasattr(self, "channel") else ""


class Backend(ABC):
    """Creates Instances of one kind. Made once per arm, in the arm's own worker process."""

    family: ClassVar[Family]
    #: Guests it can run: a Linux rootfs, and, for machines with firmware, the boot sector that prints READY.
    guests: ClassVar[frozenset[Guest]] = frozenset({"linux"})
    #: The runtime's own way to run a command inside (`exec`), in the words of its documentation; None without one.
    door: ClassVar[str | None] = None
    needs_root: ClassVar[bool] = True
    #: Whether the cage limits memory to the envelope (a guest's memory is limited by its own RAM size).
    memory_by_cage: ClassVar[bool] = True
    #: Whether a cgroup of this host can hold its instances. Without one, nothing of them is read from a cage.
    cageable: ClassVar[bool] = True
    #: Whether it counts its guests' instructions. Their clock is then that count, and their seconds say nothing.
    counts: ClassVar[bool] = False
    #: What runs its guests' instructions: "tcg" (QEMU emulates the processor), "kvm" or "xen"; None: no machine.
    accelerator: ClassVar[Accelerator | None] = None
    #: What kind of kernel its guests boot: Order.kernel, which a campaign may choose. None: they run on the host's.
    kernel: ClassVar[KernelKind | None] = None
    #: Whether its runtime makes groups of its own below the one that it finds itself in, in every v1 hierarchy.
    nests: ClassVar[bool] = False
    #: Seconds in which a probe guest must be up, for `tare doctor` to believe that it can run at all.
    probe_limit: ClassVar[float] = 20.0
    #: What helps where all is there and still no probe comes up.
    remedy: ClassVar[str] = "no known fix: report this message to the maintainers of what was started"
    #: Tools it runs: name → the Debian package that has it. Their versions go into the facts.
    tools: ClassVar[Mapping[str, str]] = {}

    @dataclass(frozen=True)
    class Options:
        """Keys a campaign may give to this backend's arms; a backend with options replaces this class."""

    def __init__(self, folder: Path, options: Any) -> None:
        """folder: a private directory that lives as long as the worker."""
        self.folder = folder
        self.options = options

    @classmethod
    def required(cls, options: Any) -> Mapping[str, str]:
        """The tools that an arm with these options needs."""
        return cls.tools

    @classmethod
    def shut(cls) -> str | None:
        """Why this user cannot go through the door on this host; None where he can, or there is none."""
        return None

    @classmethod
    def notes(cls, options: Any) -> list[str]:
        """What a reader of the results must know about how this arm is run on this host."""
        return []

    @classmethod
    def leftovers(cls, run: Run) -> Iterable[Path]:
        """Files and folders that the runtime keeps of a run's instances outside their folders."""
        return ()

    @abstractmethod
    def provision(self, order: Order, cage: Cage | None) -> Instance:
        """Prepare everything that is not timed. The instance is then ready for start()."""

    def close(self) -> None:
        """Release what the backend itself holds."""


#: What has a guest load the drivers that initramfs() packed: some are of another machine's devices, and refuse.
LOAD_DRIVERS = ("/bin/busybox", "sh", "-c", 'for d in /drivers/*.ko; do insmod "$d" 2>/dev/null; done; true')


def initramfs(order: Order, folder: Path, *, more: bool = False) -> Path:
    """What a machine boots from: the rootfs, or what leads there; with drivers behind it, where it has what needs them.

    That is made once in a folder. more: whether it has other devices than disk and link.
    """
    if not (order.kernel and order.kernel.drivers and (order.disk or order.rootfs.on_disk or order.link or more)):
        return order.rootfs.initramfs
    whole = folder / "initramfs"
    if not whole.exists():
        cpio.join([order.rootfs.initramfs, order.kernel.drivers], whole)
    return whole


def names() -> list[str]:
    """All backends: their files' names, with `-` for `_`."""
    import bench.backends

    found = (module.name for module in pkgutil.iter_modules(bench.backends.__path__))
    return sorted(name.replace("_", "-") for name in found if name != "base" and not name.startswith("_"))


def load(name: str) -> type[Backend]:
    """The backend of this name. Raises InputError with the names there are."""
    if name not in names():
        raise InputError(f"there is no backend {name!r}", hint=f"one of: {', '.join(names())}")
    backend: type[Backend] = importlib.import_module(f"bench.backends.{name.replace('-', '_')}").Backend
    return backend


def make_options(backend: type[Backend], given: Mapping[str, object]) -> Any:
    """The backend's Options from a campaign's table, strictly. Raises InputError naming the key."""
    hints = typing.get_type_hints(backend.Options)
    required = {f.name for f in dataclasses.fields(backend.Options) if f.default is dataclasses.MISSING}
    for key, value in given.items():
        if key not in hints:
            allowed = ", ".join(sorted(hints)) or "none"
            raise InputError(f"{key}: unknown option", hint=f"options here: {allowed}")
        if not _fits(value, hints[key]):
            raise InputError(f"{key}: {value!r} is not {_describe(hints[key])}")
    for key in sorted(required - set(given)):
        raise InputError(f"{key}: missing", hint=f"this backend needs {key} = {_describe(hints[key])}")
    return backend.Options(**given)


def _fits(value: object, kind: Any) -> bool:
    if typing.get_origin(kind) is Literal:
        return value in typing.get_args(kind)
    if typing.get_args(kind):
        return any(_fits(value, option) for option in typing.get_args(kind))
    if kind is float and isinstance(value, int):
        kind = int
    return isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)


def _describe(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(repr(value) for value in typing.get_args(kind))
    plain = {str: "a string", int: "a whole number", bool: "true or false", float: "a number"}
    options = [
        plain.get(option, str(option)) for option in typing.get_args(kind) or (kind,) if option is not type(None)
    ]
    return " or ".join(options)
