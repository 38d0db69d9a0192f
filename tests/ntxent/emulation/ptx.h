/* The functions of the kernel's ptx.cuh as the PTX manual describes them; included before it, and instead of it.
 *
 * Copies are made at the latest moment that is allowed, and until then their place holds NaN: who reads too early, or
 * still reads what is being replaced, computes NaN.
 */
#define MOLPARALLAX_NTXENT_PTX_CUH
#pragma once

#include <cstdlib>

#include "block.h"
#include "cuda_bf16.h"

namespace ntxent {

extern unsigned char memory[];  // the kernels' shared memory

inline uint32_t shared_address(const void *pointer) {
    return static_cast<uint32_t>(static_cast<const unsigned char *>(pointer) - memory);
}

inline void copy_chunk(uint32_t to, const __nv_bfloat16 *from, bool present) {
    std::memset(memory + to, 0xff, 16);
    emulation::running->copies.push_back({memory + to, present ? from : nullptr});
}

inline void wait_for_copies() {
    for (const emulation::Copy &copy : emulation::running->copies)
        copy.from ? (void)std::memcpy(copy.to, copy.from, 16) : (void)std::memset(copy.to, 0, 16);
    emulation::running->copies.clear();
}

/* Register r of lane l: the (l % 4)-th pair of numbers of line l / 4, or one number of each of two lines. */
template <int REGISTERS>
void load_matrices(uint32_t (&f)[REGISTERS], uint32_t from, bool transposed) {
    emulation::Mail mine{};
    mine.words[0] = from;
    const emulation::Mail *const all = emulation::exchange(mine);
    const int lane = emulation::running->index.x % emulation::WARP;
    for (int r = 0; r < REGISTERS; ++r) {
        const auto number = [&](int line, int at) {
            uint16_t bits;
            std::memcpy(&bits, memory + all[r * 8 + line].words[0] + at * 2, 2);
            return static_cast<uint32_t>(bits);
        };
        if (transposed)
            f[r] = number(lane % 4 * 2, lane / 4) | number(lane % 4 * 2 + 1, lane / 4) << 16;
        else
            f[r] = number(lane / 4, lane % 4 * 2) | number(lane / 4, lane % 4 * 2 + 1) << 16;
        unsigned banks = 0;
        for (int line = 0; line < 8; ++line) banks |= 1u << all[r * 8 + line].words[0] / 16 % 8;
        if (banks != 0xff) ++emulation::bank_conflicts;
    }
}

inline void load_fragments(uint32_t (&f)[4], uint32_t from) { load_matrices(f, from, false); }
inline void load_fragments(uint32_t (&f)[2], uint32_t from) { load_matrices(f, from, false); }
inline void load_transposed(uint32_t (&f)[4], uint32_t from) { load_matrices(f, from, true); }

inline float half_of(uint32_t word, int half) { return as_float(static_cast<uint16_t>(word >> 16 * half)); }

inline void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    const emulation::Mail *const all = emulation::exchange({{a[0], a[1], a[2], a[3], b0, b1}});
    const int lane = emulation::running->index.x % emulation::WARP;
    for (int x = 0; x < 4; ++x) {
        const int row = lane / 4 + x / 2 * 8, column = lane % 4 * 2 + x % 2;
        for (int k = 0; k < 16; ++k) {
            const uint32_t left = all[row % 8 * 4 + k % 8 / 2].words[row / 8 + k / 8 * 2];
            const uint32_t right = all[column * 4 + k % 8 / 2].words[4 + k / 8];
            c[x] += half_of(left, k % 2) * half_of(right, k % 2);
        }
    }
}

inline float exp2_fast(float x) {
    const float e = std::exp2(x);
    return std::isnormal(e) || std::isnan(e) || std::isinf(e) ? e : 0.0f;
}

inline int64_t load_again(const int64_t *from) { return *from; }

inline void synchronise_pair(int pair) { meet(emulation::barriers[pair + 1], 2 * emulation::WARP); }

}  // namespace ntxent
