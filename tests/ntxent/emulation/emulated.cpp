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

/* ldmatrix instructions whose lines met in a bank, since the last call. */
int emulation_bank_conflicts() { return std::exchange(emulation::bank_conflicts, 0); }
}

int hopper_scratch(const NtxentProblem *, int, size_t *) { return cudaErrorInvalidDevice; }
int hopper_sums(const NtxentProblem *, float *, float *, void *, void *) { return cudaErrorInvalidDevice; }
int hopper_pull(const NtxentProblem *, const float *, const float *, float *, void *, void *) {
    return cudaErrorInvalidDevice;
}
