/* A plugin for QEMU's TCG (its plugin API, version 1): counts the guest's instructions, those of idle waits not among
 * them, and writes the count to QEMU's log before each `out %al,(%dx)`, with which the kernel writes to a serial port.
 * Debian has no package with qemu-plugin.h; what is needed of it is declared here. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#define OUT_AL_DX 0xee

enum { PLUGIN_API = 1, ADD_U64 = 0, NO_REGISTERS = 0 };

struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void translated(uint64_t plugin, struct qemu_plugin_tb *);
typedef void executed(unsigned int cpu, void *data);

void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t plugin, translated *);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, int operation, void *operand, uint64_t value);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, executed *, int registers, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t index);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
void qemu_plugin_outs(const char *);

int qemu_plugin_version = PLUGIN_API;

static uint64_t count;

static void before_out(unsigned int cpu, void *data)
{
	char line[32];

	(void)cpu, (void)data;
	snprintf(line, sizeof(line), "count %" PRIu64 "\n", count);
	qemu_plugin_outs(line);
}

static void on_translation(uint64_t plugin, struct qemu_plugin_tb *block)
{
	size_t length = qemu_plugin_tb_n_insns(block);

	(void)plugin;
	for (size_t index = 0; index < length; index++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, index);
		const uint8_t *bytes = qemu_plugin_insn_data(insn);

		/* One by one: a block that an exception or a device leaves half-way counts as far as it came. */
		qemu_plugin_register_vcpu_insn_exec_inline(insn, ADD_U64, &count, 1);
		if (qemu_plugin_insn_size(insn) == 1 && *bytes == OUT_AL_DX)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, before_out, NO_REGISTERS, NULL);
	}
}

int qemu_plugin_install(uint64_t plugin, const void *info, int argc, char **argv)
{
	(void)info, (void)argc, (void)argv;
	qemu_plugin_register_vcpu_tb_trans_cb(plugin, on_translation);
	return 0;
}
