#!/bin/busybox sh
# The first process of every instance Tare starts, the same in every family. It serves the channel: see bench/channel.py.
# Only shell built-ins stand between its start and READY, but for what a guest must mount for itself.

if [ -n "$TARE_GUEST" ]; then
	mount -t devtmpfs dev /dev 2>/dev/null
	[ "$TARE_GUEST" = - ] || exec <"$TARE_GUEST" >"$TARE_GUEST"
fi
# For what must not be in the way of the same in another instance, where they share a host's ports.
export TARE_INIT=$$
printf '\nINIT\n'
if [ -n "$TARE_GUEST" ]; then
	stty raw -echo
	mount -t proc proc /proc
	mount -t sysfs sys /sys
	# Nothing but the protocol on the channel from here on.
	echo 1 >/proc/sys/kernel/printk
fi
printf '\nREADY\n'

serve() {
	while read -r verb tag count; do
		case $verb in
		run)
			set --
			while [ "$count" -gt 0 ]; do
				IFS= read -r word
				set -- "$@" "$word"
				count=$((count - 1))
			done
			"$@" </dev/null 2>&1
			printf '\n%s %s\n' "$tag" $?
			;;
		ping) printf '\n%s 0\n' "$tag" ;;
		halt)
			[ -n "$TARE_GUEST" ] && poweroff -f
			exit 0
			;;
		esac
	done
}

# Where instructions are counted, requests are there from the start: when one comes from outside is chance.
[ -f /requests ] && serve </requests
serve
