/* A plugin for QEMU's TCG: counts the guest's instructions, those of idle waits not among them, and writes the count to
 * QEMU's log before each `out %al,(%dx)`, with which the kernel writes to a serial port. Debian has no package with
 * qemu-plugin.h; what is needed of it is declared here. API: the version of QEMU's plugin API, 1 (before QEMU 9.0), 2
 * (9.0) or 3 (later). */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#define OUT_AL_DX 0xee

enum { ADD_U64 = 0, NO_REGISTERS = 0, LONGEST_INSN = 16 };

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_scoreboard;
typedef void translated(uint64_t plugin, struct qemu_plugin_tb *);
typedef void executed(unsigned int cpu, void *data);

void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t plugin, translated *);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, executed *, int registers, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t index);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
void qemu_plugin_outs(const char *);

int qemu_plugin_version = API;

#if API == 1
static uint64_t count;

void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, int operation, void *operand, uint64_t value);

static void prepare(void)
{
}

static void count_one(struct qemu_plugin_insn *insn)
{
	qemu_plugin_register_vcpu_insn_exec_inline(insn, ADD_U64, &count, 1);
}

static uint64_t counted(unsigned int cpu)
{
	(void)cpu;
	return count;
}
#else
typedef struct {
	struct qemu_plugin_scoreboard *scores;
	size_t offset;
} entry;

static entry count;

struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t size);
uint64_t qemu_plugin_u64_get(entry, unsigned int cpu);
void qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(
	struct qemu_plugin_insn *, int operation, entry operand, uint64_t value);

static void prepare(void)
{
	count.scores = qemu_plugin_scoreboard_new(sizeof(uint64_t));
}

static void count_one(struct qemu_plugin_insn *insn)
{
	qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn, ADD_U64, count, 1);
}

static uint64_t counted(unsigned int cpu)
{
	return qemu_plugin_u64_get(count, cpu);
}
#endif

#if API < 3
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);

static uint8_t first_byte(const struct qemu_plugin_insn *insn)
{
	return *(const uint8_t *)qemu_plugin_insn_data(insn);
}
#else
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *, void *into, size_t size);

static uint8_t first_byte(const struct qemu_plugin_insn *insn)
{
	uint8_t bytes[LONGEST_INSN] = {0};

	qemu_plugin_insn_data(insn, bytes, sizeof(bytes));
	return bytes[0];
}
#endif

static void before_out(unsigned int cpu, void *data)
{
	char line[32];

	(void)data;
	snprintf(line, sizeof(line), "count %" PRIu64 "\n", counted(cpu));
	qemu_plugin_outs(line);
}

static void on_translation(uint64_t plugin, struct qemu_plugin_tb *block)
{
	size_t length = qemu_plugin_tb_n_insns(block);

	(void)plugin;
	for (size_t index = 0; index < length; index++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, index);

		/* One by one: a block that an exception or a device leaves half-way counts as far as it came. */
		count_one(insn);
		if (qemu_plugin_insn_size(insn) == 1 && first_byte(insn) == OUT_AL_DX)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, before_out, NO_REGISTERS, NULL);
	}
}

int qemu_plugin_install(uint64_t plugin, const void *info, int argc, char **argv)
{
	(void)info, (void)argc, (void)argv;
	prepare();
	qemu_plugin_register_vcpu_tb_trans_cb(plugin, on_translation);
	return 0;
}
