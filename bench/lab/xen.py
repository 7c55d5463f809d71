"""A Xen 4.17 host: Debian 12 as dom0, with libvirt's driver for it."""

from __future__ import annotations

from bench.lab._recipe import Recipe

RECIPE = Recipe(
    name="lab-xen",
    about="Xen 4.17 with Debian 12 as dom0, libvirt's Xen driver",
    packages="""
        bubblewrap busybox-static crun libvirt-clients libvirt-daemon-driver-xen libvirt-daemon-system runc
        user-mode-linux xen-hypervisor-4.17-amd64 xen-utils-4.17
    """,
    # The cloud kernels cannot be dom0.
    kernel_pattern=r"linux-image-6\.1\.0-(\d+)-amd64",
    kernels=1,
    modules="ahci sd_mod ext4",
    # A plain "max" crashes dom0. The disk is on AHCI and the network an e1000: dom0 was proved with these.
    machine="""
        -machine pc -cpu qemu64,+svm,+npt -device ich9-ahci,id=ahci -device ide-hd,drive=disk,bus=ahci.0
        -device e1000,netdev=net
    """,
    append="root=/dev/sda rw console=hvc0 net.ifnames=0",
    boot="xen",
    # One virtual CPU for dom0 leaves the other to its guests.
    xen="dom0_mem=2048M,max:2048M dom0_max_vcpus=1 com1=115200,8n1 console=com1",
    ready="xl info >/dev/null && virsh -c xen:///system uri",
    memory=3072,
    disk=5120,
    # The emulated CPU has no VME, which every model in libvirt's map asks for: its driver would not start.
    setup="sed -i \"/feature name='vme'/d\" /usr/share/libvirt/cpu_map/x86_486.xml",
    enabled="libvirtd.service libvirtd.socket",
)
