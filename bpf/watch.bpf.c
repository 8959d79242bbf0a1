// What the kernel announces to nobody: a table of iptables was replaced. Told by what it does on
// the way, to free memory that each CPU has, which has a trace point. The program says only that it
// may have happened; who hears of it looks for himself. In all network namespaces: which one it was
// is not to be seen here.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

/* The counters of rules are allocated in blocks, XT_PCPU_BLOCK_SIZE in x_tables.c, and those of the
 * old table are freed when the new one is in its place. Whoever frees them knows them by this. */
#define RULE_COUNTERS 4096

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 4096);
} snp_calls SEC(".maps");

/* A full ring is no loss: whoever empties it looks at everything. */
static __always_inline int tell(void) {
  __u32 call = 1;
  bpf_ringbuf_output(&snp_calls, &call, sizeof(call), BPF_RB_FORCE_WAKEUP);
  return 0;
}

/* chunk, offset, pointer */
SEC("tp_btf/percpu_free_percpu")
int snp_rules_freed(__u64 *args) {
  return args[2] % RULE_COUNTERS == 0 ? tell() : 0;
}

char LICENSE[] SEC("license") = "GPL";
