/* The functions of the kernel's ptx.cuh and hopper_tma.cuh as the PTX manual describes them; included instead of them.
 */
#define MOLPARALLAX_NTXENT_PTX_CUH
#define MOLPARALLAX_NTXENT_HOPPER_TMA_CUH
#pragma once

#include "cluster.h"
#include "cuda_bf16.h"

#define NTXENT_HOPPER_CODE 1
#define NTXENT_HOPPER_KERNEL(CLUSTER, THREADS) void
#define __grid_constant__

struct CUtensorMap {
    const unsigned char *tensor;
    int64_t lines;
    int line_bytes, box_lines, box_bytes; /* a box is box_bytes of box_lines lines */
    bool swizzled;
};

namespace emulation {

/* Swizzle of 128 bytes: address bits 4-6 are exchanged by bits 7-9. */
inline uint32_t swizzled(uint32_t address) { return address ^ (address >> 7 & 7) << 4; }

inline void settle(PhaseBarrier &barrier) {
    require(barrier.missing >= 0, "more arrivals than a phase has");
    if (barrier.missing || barrier.bytes) return;
    barrier.missing = barrier.arrivals;
    ++barrier.phase;
}

inline PhaseBarrier &phase_barrier(int block, uint32_t at) {
    const auto found = cluster.blocks[block].phases.find(at);
    require(found != cluster.blocks[block].phases.end(), "a barrier that was not made");
    return found == cluster.blocks[block].phases.end() ? cluster.blocks[block].phases[at] : found->second;
}

inline void arrive_at(int block, uint32_t at) {
    PhaseBarrier &barrier = phase_barrier(block, at);
    --barrier.missing;
    settle(barrier);
}

inline void copy_box(int block, uint32_t to, const CUtensorMap &map, int x_bytes, int64_t y, uint32_t at) {
    require(to % 128 == 0, "a copy begins at a multiple of 128 bytes");
    const int bytes = map.box_lines * map.box_bytes;
    require(to + bytes <= LARGEST_SHARED, "a copy past the end of shared memory");
    std::memset(cluster.blocks[block].memory + to, 0xff, bytes);
    cluster.copies.push_back({[=] {
        for (int line = 0; line < map.box_lines; ++line)
            for (int byte = 0; byte < map.box_bytes; ++byte) {
                const bool inside = y + line < map.lines && x_bytes + byte < map.line_bytes;
                const uint32_t address = to + line * map.box_bytes + byte;
                cluster.blocks[block].memory[map.swizzled ? swizzled(address) : address] =
                    inside ? map.tensor[(y + line) * map.line_bytes + x_bytes + byte] : 0;
            }
        PhaseBarrier &barrier = phase_barrier(block, at);
        barrier.bytes -= bytes;
        settle(barrier);
    }});
}

}  // namespace emulation

namespace ntxent {

inline uint32_t shared_address(const void *pointer) {
    return static_cast<uint32_t>(static_cast<const unsigned char *>(pointer) - emulation::own_block().memory);
}

inline float exp2_fast(float x) {
    const float e = std::exp2(x);
    return std::isnormal(e) || std::isnan(e) || std::isinf(e) ? e : 0.0f;
}

inline int64_t load_again(const int64_t *from) { return *from; }

namespace hopper {

inline unsigned char *dynamic_memory() { return emulation::own_block().memory; }
inline int rank_in_cluster() { return emulation::running->block; }
inline void synchronise_cluster() { emulation::meet(emulation::cluster.all, emulation::CLUSTER_THREADS); }

inline void make_barrier(uint32_t barrier, int arrivals) {
    emulation::own_block().phases[barrier] = {arrivals, arrivals, 0, 0};
}

inline void publish_barriers() {}

inline void wait(uint32_t at, unsigned parity) {
    const emulation::PhaseBarrier &barrier = emulation::phase_barrier(emulation::running->block, at);
    emulation::wait_until([&barrier, parity] { return barrier.phase % 2 != parity; });
}

inline void arrive(uint32_t barrier) { emulation::arrive_at(emulation::running->block, barrier); }
inline void arrive_in_block(uint32_t barrier, int rank) { emulation::arrive_at(rank, barrier); }

inline void arrive_and_expect(uint32_t at, int bytes) {
    emulation::phase_barrier(emulation::running->block, at).bytes += bytes;
    arrive(at);
}

inline void synchronise(int barrier, int threads) { emulation::meet(emulation::own_block().named[barrier], threads); }
inline void arrive_only(int barrier, int threads) { emulation::come(emulation::own_block().named[barrier], threads); }

inline void load_box(uint32_t to, const CUtensorMap &map, int x, int y, uint32_t barrier) {
    emulation::copy_box(emulation::running->block, to, map, x * 2, y, barrier);
}

inline void load_box_to_both(uint32_t to, const CUtensorMap &map, int x, int y, uint32_t barrier) {
    for (int block = 0; block < emulation::BLOCKS; ++block) emulation::copy_box(block, to, map, x * 2, y, barrier);
}

inline void load_line(uint32_t to, const CUtensorMap &map, int x, uint32_t barrier) {
    emulation::copy_box(emulation::running->block, to, map, x * 4, 0, barrier);
}

inline void publish_stores() {}

template <int REGISTERS>
void give_up_registers() {}

template <int REGISTERS>
void take_registers() {}

}  // namespace hopper
}  // namespace ntxent
