#!/bin/busybox sh
# The first process of a guest whose root file system is on a disk: finds it, and makes way for the init there.

busybox mount -t devtmpfs dev /dev
for driver in /drivers/*.ko; do
	[ ! -e "$driver" ] || busybox insmod "$driver"
done
i=0
until [ -b "$TARE_ROOT" ] || [ $i -ge 500 ]; do
	busybox usleep 10000
	i=$((i + 1))
done
busybox mount -t ext4 -o ro "$TARE_ROOT" /root &&
	busybox mount -t tmpfs -o nosuid,nodev tmpfs /root/tmp &&
	busybox mount --move /dev /root/dev &&
	exec busybox switch_root /root /init
echo "the root file system is not on $TARE_ROOT, or the guest's kernel has no driver for it"
