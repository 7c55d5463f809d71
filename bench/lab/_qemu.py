"""QEMU's command line for a lab host. All paths in it are relative to the host's folder, so none needs quoting."""

from __future__ import annotations

from bench.lab._recipe import Recipe

CONSOLE = "console.log"
CPUS = 2
#: Programs at the same addresses each time: QEMU translates code anew for every address that it is met at, and with
#: random ones that took five times as long as all the rest (a fork and exec 60 ms, now 12 ms).
_ALWAYS = "norandmaps"


def argv(qemu: str, recipe: Recipe, port: int, token: str, board: str) -> list[str]:
    """Emulated alone: it runs wherever QEMU does. port: of 127.0.0.1, for SSH; token: a UUID to know the process by;
    board: a UUID that the guest finds in its firmware, as long as it is the same machine."""
    common = [qemu, "-name", recipe.name, "-uuid", token, "-smbios", f"type=1,uuid={board}"]
    common += ["-nodefaults", "-no-user-config", "-display", "none"]
    common += ["-accel", "tcg,thread=multi", "-smp", str(CPUS), "-m", str(recipe.memory), "-daemonize"]
    common += ["-serial", f"file:{CONSOLE}"]
    # The guest reaches nothing, neither this machine nor beyond: only the forwarded port reaches it.
    common += ["-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"]
    common += ["-drive", "if=none,id=disk,file=image/disk.raw,format=raw,snapshot=on"]
    return [*common, *recipe.machine.split(), *_boot(recipe)]


def _boot(recipe: Recipe) -> list[str]:
    line = f"{recipe.append} {_ALWAYS}"
    if recipe.boot == "linux":
        return ["-kernel", "image/kernel", "-initrd", "image/initrd", "-append", line]
    # Xen takes its modules by multiboot: QEMU separates them by commas, and a module's own command line by a space.
    append = line.replace(",", ",,")
    return ["-kernel", "image/xen", "-initrd", f"image/kernel {append},image/initrd", "-append", recipe.xen]
