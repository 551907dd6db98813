/* A libnuma for machines that have none: it says that there is no NUMA here, which vLLM takes for an answer.
 *
 * vLLM's CPU kernels are linked against libnuma.so.1 and do not load without it, although they use it only to bind memory
 * to the nodes of machines with several. tools/setup.py compiles this where the real library (Debian: libnuma1) is
 * missing; engine_vllm_start.py prefers the real one. Only what those kernels import is here; the signatures are those
 * of numa.h, with its masks never looked into.
 */

struct bitmask;

int numa_available(void) { return -1; }

struct bitmask *numa_get_mems_allowed(void) { return 0; }
struct bitmask *numa_parse_nodestring(const char *text) { (void)text; return 0; }
void numa_bitmask_free(struct bitmask *mask) { (void)mask; }

int numa_migrate_pages(int pid, struct bitmask *from, struct bitmask *to) { (void)pid, (void)from, (void)to; return 0; }
void numa_set_interleave_mask(struct bitmask *mask) { (void)mask; }
void numa_set_membind(struct bitmask *mask) { (void)mask; }
void numa_set_strict(int strict) { (void)strict; }
