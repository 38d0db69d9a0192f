// The instructions of sm_90a by which a cluster's threads load tiles and wait for each other, one function each.
//
// Nothing else is in this file, so that a test can put its own meaning of them in place. Addresses are 32-bit numbers
// in the block's shared memory; a barrier is an mbarrier, eight bytes there. Waits say the parity of the phase that
// must be over: the first phase has parity 0, and before it the parity 1 counts as over.
#ifndef MOLPARALLAX_NTXENT_HOPPER_TMA_CUH
#define MOLPARALLAX_NTXENT_HOPPER_TMA_CUH

#include <cuda.h>
#include <stdint.h>

#include "ptx.cuh"

// Other architectures get empty kernels, and know no clusters.
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define NTXENT_HOPPER_CODE 1
#define NTXENT_HOPPER_KERNEL(CLUSTER, THREADS) \
    __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(THREADS, 1)
#else
#define NTXENT_HOPPER_KERNEL(CLUSTER, THREADS) __global__ void __launch_bounds__(THREADS, 1)
#endif

namespace ntxent {
namespace hopper {

__device__ __forceinline__ unsigned char *dynamic_memory() {
    extern __shared__ __align__(1024) unsigned char memory[];  // the period of the 128-byte swizzle
    return memory;
}

// --- the cluster

__device__ __forceinline__ int rank_in_cluster() {
    int rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

// All threads of both blocks.
__device__ __forceinline__ void synchronise_cluster() {
    asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;\n" ::: "memory");
}

// --- barriers

__device__ __forceinline__ void make_barrier(uint32_t barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(barrier), "r"(arrivals) : "memory");
}

// Barriers that this thread made can be used by other blocks and by the copy engine, after a synchronise_cluster.
__device__ __forceinline__ void publish_barriers() {
    asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
}

__device__ __forceinline__ void wait(uint32_t barrier, unsigned parity) {
    uint32_t over;
    do {
        asm volatile(
            "{\n.reg .pred p;\n"
            "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
            "selp.u32 %0, 1, 0, p;\n}\n"
            : "=r"(over)
            : "r"(barrier), "r"(parity)
            : "memory");
    } while (!over);
}

__device__ __forceinline__ void arrive(uint32_t barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(barrier) : "memory");
}

// At the barrier that lies at the same place in another block of the cluster, or in this one.
__device__ __forceinline__ void arrive_in_block(uint32_t barrier, int rank) {
    asm volatile(
        "{\n.reg .b32 there;\n"
        "mapa.shared::cluster.u32 there, %0, %1;\n"
        "mbarrier.arrive.shared::cluster.b64 _, [there];\n}\n" ::"r"(barrier),
        "r"(rank)
        : "memory");
}

// Arrives, and the phase also waits for so many bytes from the copy engine.
__device__ __forceinline__ void arrive_and_expect(uint32_t barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(barrier), "r"(bytes) : "memory");
}

// Some warps of this block wait for each other; `threads` counts those that only arrive, too. Barrier 0 is that of
// __syncthreads.
__device__ __forceinline__ void synchronise(int barrier, int threads) {
    asm volatile("bar.sync %0, %1;\n" ::"r"(barrier), "r"(threads) : "memory");
}

__device__ __forceinline__ void arrive_only(int barrier, int threads) {
    asm volatile("bar.arrive %0, %1;\n" ::"r"(barrier), "r"(threads) : "memory");
}

// --- copies; the barrier counts their bytes. What lies outside the tensor is zero, and counts too.

// The box of a two-dimensional map at number x of vector y.
__device__ __forceinline__ void load_box(uint32_t to, const CUtensorMap &map, int x, int y, uint32_t barrier) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
        " [%0], [%1, {%3, %4}], [%2];\n" ::"r"(to),
        "l"(&map), "r"(barrier), "r"(x), "r"(y)
        : "memory");
}

// To the same place in both blocks, each of whose barriers counts its own bytes.
__device__ __forceinline__ void load_box_to_both(uint32_t to, const CUtensorMap &map, int x, int y, uint32_t barrier) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster"
        " [%0], [%1, {%4, %5}], [%2], %3;\n" ::"r"(to),
        "l"(&map), "r"(barrier), "h"(static_cast<uint16_t>(3)), "r"(x), "r"(y)
        : "memory");
}

// The box of a one-dimensional map.
__device__ __forceinline__ void load_line(uint32_t to, const CUtensorMap &map, int x, uint32_t barrier) {
    asm volatile(
        "cp.async.bulk.tensor.1d.shared::cluster.global.mbarrier::complete_tx::bytes"
        " [%0], [%1, {%3}], [%2];\n" ::"r"(to),
        "l"(&map), "r"(barrier), "r"(x)
        : "memory");
}

// This thread's stores to shared memory come before what the tensor cores read after the next barrier.
__device__ __forceinline__ void publish_stores() { asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory"); }

// --- registers of a warpgroup, all of whose warps call it

template <int REGISTERS>
__device__ __forceinline__ void give_up_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(REGISTERS));
}

template <int REGISTERS>
__device__ __forceinline__ void take_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(REGISTERS));
}

}  // namespace hopper
}  // namespace ntxent
#endif
