/* launch of the kernel's launch.cuh: block after block, on the host. Included before it, and instead of it. */
#define MOLPARALLAX_NTXENT_LAUNCH_CUH
#pragma once

#include <functional>

#include "block.h"

namespace ntxent {
extern unsigned char memory[];
}

namespace emulation {

extern std::function<void()> kernel_of_thread;

inline void thread_main() {
    kernel_of_thread();
    running->done = true;
    swapcontext(&running->context, &scheduler);
}

inline void start_threads(int count) {
    for (Barrier &barrier : barriers) barrier = {};
    for (Warp &warp : warps) warp.barrier = {};
    for (int n = 0; n < count; ++n) {
        Thread &thread = threads[n];
        thread.index.x = n;
        thread.waits_for = nullptr;
        thread.done = false;
        thread.copies.clear();
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack.data();
        thread.context.uc_stack.ss_size = thread.stack.size();
        thread.context.uc_link = nullptr;
        makecontext(&thread.context, thread_main, 0);
    }
}

}  // namespace emulation

namespace ntxent {

template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), int64_t blocks, int threads, int bytes, void *,
                   Arguments... arguments) {
    if (bytes > emulation::device.shared_bytes || threads > emulation::LARGEST_BLOCK) return cudaErrorInvalidValue;
    emulation::kernel_of_thread = [=] { kernel(arguments...); };
    emulation::block_size.x = threads;
    for (int64_t block = 0; block < blocks; ++block) {
        emulation::block.x = static_cast<unsigned>(block);
        std::memset(memory, 0xff, bytes);
        emulation::start_threads(threads);
        if (!emulation::run_threads(threads)) return cudaErrorLaunchFailure;
    }
    return cudaSuccess;
}

}  // namespace ntxent
