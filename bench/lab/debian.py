"""A stock Debian 12 host with KVM (AMD's SVM, emulated), cgroup v2, and two kernels to change between by kexec."""

from __future__ import annotations

from bench.lab._recipe import Recipe

RECIPE = Recipe(
    name="lab-debian",
    about="Debian 12, KVM by emulated SVM, cgroup v2, two kernels of the 6.1 series",
    packages="""
        bubblewrap busybox-static conmon crun docker.io kexec-tools libvirt-clients libvirt-daemon-driver-qemu
        libvirt-daemon-system lxc podman qemu-system-x86 runc sudo systemd-container uidmap user-mode-linux
    """,
    kernel_pattern=r"linux-image-6\.1\.0-(\d+)-amd64",
    kernels=2,
    modules="virtio_pci virtio_blk ext4",
    machine="-machine q35 -cpu max -device virtio-blk-pci,drive=disk -device virtio-net-pci,netdev=net",
    append="root=/dev/vda rw console=ttyS0 net.ifnames=0",
    ready="test -w /dev/kvm",
    memory=4096,
    disk=8192,
    files={"etc/modules-load.d/lab.conf": "kvm_amd\n"},
    # Users may start docker and libvirt; sockets start the latter by itself.
    disabled="docker.service docker.socket libvirtd.service",
    enabled="libvirtd.socket virtlogd.socket virtlockd.socket",
    # An ordinary user, who becomes root without a password.
    setup="""
        useradd --create-home --shell /bin/sh user
        mkdir -m 700 /home/user/.ssh
        cp /root/.ssh/authorized_keys /home/user/.ssh/
        chown -R user: /home/user/.ssh
        echo 'user ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/user
    """,
)
