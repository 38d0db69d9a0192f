/* The portable path, its sources as they are, as a library for a machine without a GPU. Device memory is the host's. */
#include <utility>

#include "launch.h"
#include "ptx.h"

namespace emulation {

Device device;
Index block, block_size;
Thread *running;
Thread threads[LARGEST_BLOCK];
Warp warps[LARGEST_BLOCK / WARP];
Barrier barriers[16];
ucontext_t scheduler;
std::mt19937 order;
int bank_conflicts;
std::function<void()> kernel_of_thread;

}  // namespace emulation

namespace ntxent {
alignas(128) unsigned char memory[emulation::LARGEST_SHARED];
}

#include "library.cu"
#include "portable.cu"

extern "C" {

void emulation_device(int multiprocessors, int shared_bytes) {
    emulation::device.multiprocessors = multiprocessors;
    emulation::device.shared_bytes = shared_bytes;
}

void emulation_order(unsigned seed) { emulation::order.seed(seed); }

/* plan.h and pairs.h themselves. */
void emulation_place(int m, int k, bool triangle, int multiprocessors, int block, int *row, int *column) {
    const ntxent::Place place = place_of(ntxent::plan_sums(m, k, triangle, false, multiprocessors), block);
    *row = place.row;
    *column = place.column;
}

int64_t emulation_blocks(int m, int k, bool triangle, int multiprocessors) {
    return blocks_of_sums(ntxent::plan_sums(m, k, triangle, false, multiprocessors));
}

bool emulation_is_negative(int m, int k, int own, int pair, int i, int j) {
    return is_negative(others_of({m, k, own, pair}, i), j);
}

bool emulation_all_negatives(int m, int k, int own, int pair, int row, int rows, int column, int columns) {
    return all_negatives({m, k, own, pair}, row, rows, column, columns);
}

/* ldmatrix instructions whose lines met in a bank, since the last call. */
int emulation_bank_conflicts() { return std::exchange(emulation::bank_conflicts, 0); }
}

int hopper_scratch(const NtxentProblem *, int, size_t *) { return cudaErrorInvalidDevice; }
int hopper_sums(const NtxentProblem *, float *, float *, void *, void *) { return cudaErrorInvalidDevice; }
int hopper_pull(const NtxentProblem *, const float *, const float *, float *, void *, void *) {
    return cudaErrorInvalidDevice;
}
