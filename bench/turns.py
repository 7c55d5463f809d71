"""The kernels of a host that take turns: sent and made ready, loaded, booted and proved. One that fails is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from bench import inventory, parcel, reboot
from bench.answers import Loaded
from bench.errors import HostError, HostLost, TareError, Unreachable
from bench.host import Seat, enter
from bench.parcel import Parcel
from bench.remote import RemoteSeat
from bench.slots import Watcher


class Turns:
    """unbootable: the kernels that did not come up on this host, and why."""

    def __init__(self, host: inventory.Host, watcher: Watcher, cancelled: Callable[[], bool]) -> None:
        self._host = host
        self._watcher = watcher
        self._cancelled = cancelled
        self._proved: str | None = None
        self.unbootable: dict[str, str] = {}

    def settle(self, seat: Seat, releases: list[str], given: Mapping[str, Parcel]) -> dict[str, dict[str, Any]]:
        """Have each kernel ready on the host, before the first slot: facts of those that were sent there.

        given: the kernels that the campaign names by their paths; others the host has itself, or Debian has. Raises
        HostError where the host can boot no other kernel at all, HostLost.
        """
        assert isinstance(seat, RemoteSeat)
        own = seat.own_kernels(release for release in releases if release not in given)
        sent: dict[str, dict[str, Any]] = {}

        def settle(release: str) -> None:
            packed = given.get(release)
            if packed is None and release not in own:
                packed = parcel.fetch(release, self._watcher.preparing)
            self._load(seat, release, packed, keep=False)
            if packed:
                sent[release] = packed.facts()

        for release in releases:
            self._attempt(release, partial(settle, release))
        if len(self.unbootable) == len(releases):
            raise HostError(f"{self._host.name} can boot no kernel of this campaign: {self.unbootable[releases[0]]}")
        return sent

    def runs(self, seat: Seat, release: str) -> bool:
        """Whether the host runs a kernel, and it is known to be the right build of it."""
        return bool(seat.host["kernel"] == release == self._proved)

    def load(self, seat: Seat, release: str, sent: Mapping[str, Any] | None) -> Loaded | None:
        """Have a kernel booted next; None where that is needless, or in vain. sent: its facts, if it is none of the
        host's own. Raises HostLost."""
        assert isinstance(seat, RemoteSeat)
        loaded: list[Loaded] = []

        def load() -> None:
            packed = parcel.find_again(sent, self._watcher.preparing) if sent else None
            loaded.append(self._load(seat, release, packed, keep=True))

        if self._attempt(release, load) and loaded[0].runs:
            self._proved = release
        return next((each for each in loaded if not each.runs), None)

    def boot(self, release: str, loaded: Loaded) -> None:
        """Boot what was loaded. Raises HostLost where the host does not come back."""

        def boot() -> None:
            self._proved = None
            reboot.boot(self._host, release, loaded.version, self._watcher.say, self._cancelled)
            self._proved = release

        try:
            self._attempt(release, boot)
        except reboot.Gone as error:
            self.unbootable[release] = str(error)  # it is not tried again when the host is back
            raise

    def bring_home(self, release: str, what: str, run: str | None) -> None:
        """Have the host run the kernel again with which it was found, if there is a way to it.

        what, run: as which campaign it is held for that, and was held before.
        """
        try:
            if reboot.running(self._host).release == release:
                return
            with enter(self._host, what, self._watcher.warned, replaces=run) as seat:
                assert isinstance(seat, RemoteSeat)
                # What is not in /boot was sent by another campaign, or the boot loader has it elsewhere.
                own = seat.own_kernels([release])
                loaded = seat.load_kernel(release, None, keep=True) if own else None
            if loaded:
                reboot.boot(self._host, release, loaded.version, self._watcher.say)
            else:
                reboot.boot(self._host, None, None, self._watcher.say)
        except TareError as error:
            self._watcher.warned(f"{self._host.name} may run another kernel than {release}: {error}")

    def _load(self, seat: RemoteSeat, release: str, packed: Parcel | None, *, keep: bool) -> Loaded:
        if packed and not keep:
            self._watcher.say(
                f"{self._host.name}: gets the kernel {release} and makes its initramfs, if it has not yet"
            )
        return seat.load_kernel(release, packed.file if packed else None, keep=keep)

    def _attempt(self, release: str, work: Callable[[], None]) -> bool:
        """Whether work on a kernel succeeded; if not, that kernel is left out."""
        try:
            work()
        except (HostLost, Unreachable):
            raise
        except TareError as error:
            self.unbootable[release] = str(error)
            self._watcher.warned(f"{self._host.name}: the kernel {release} is left out: {error}")
            return False
        return True
