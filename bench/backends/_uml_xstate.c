/* UML kernels before 6.14 hold a guest's extended registers in a buffer of fixed size (2696 bytes in 6.1). On a CPU with
 * AMX the host's NT_X86_XSTATE register set is larger, and ptrace refuses to set a part of it, so that the guest's first
 * process dies with "ptrace set fp regs failed, errno = 14". This wrapper, preloaded before libc, moves the whole set
 * through a buffer of its own. What it adds is zero: guests do not use AMX, whose header bits stay clear. */
#define _GNU_SOURCE
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static char area[1 << 16];
static size_t host_size;

long ptrace(enum __ptrace_request request, ...)
{
	va_list list;
	va_start(list, request);
	pid_t pid = va_arg(list, pid_t);
	void *addr = va_arg(list, void *), *data = va_arg(list, void *);
	va_end(list);

	if ((request == PTRACE_GETREGSET || request == PTRACE_SETREGSET) && addr == (void *)NT_X86_XSTATE) {
		struct iovec *part = data, whole = { area, sizeof area };
		if (!host_size) {
			if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, addr, &whole))
				return -1;
			host_size = whole.iov_len;
		}
		if (part->iov_len < host_size) {
			whole.iov_len = host_size;
			if (request == PTRACE_SETREGSET) {
				memcpy(area, part->iov_base, part->iov_len);
				memset(area + part->iov_len, 0, host_size - part->iov_len);
			}
			long result = syscall(SYS_ptrace, request, pid, addr, &whole);
			if (!result && request == PTRACE_GETREGSET)
				memcpy(part->iov_base, area, part->iov_len);
			return result;
		}
	}
	if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER) {
		long word, result = syscall(SYS_ptrace, request, pid, addr, &word);
		return result < 0 ? result : word;
	}
	return syscall(SYS_ptrace, request, pid, addr, data);
}
