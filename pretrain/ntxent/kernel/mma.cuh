// Tensor-core products of bfloat16 tiles in shared memory: copies, swizzle, a warp's share. sm_80 and later.
//
// A tile holds vectors as lines of 16-byte chunks, eight numbers each. Chunks are permuted within a line (slot), so
// that the eight lines which one ldmatrix reads, and a warp's stores, fall into different banks.
#pragma once

#include "ptx.cuh"

namespace ntxent {

constexpr int CHUNK = 8;  // numbers in 16 bytes

template <int CHUNKS>  // in a line: a power of two
__device__ __forceinline__ uint32_t slot(int line, int chunk) {
    constexpr int LINES_A_ROW_OF_BANKS = CHUNKS < 8 ? 8 / CHUNKS : 1;
    constexpr int TWISTS = CHUNKS < 8 ? CHUNKS : 8;
    return (line * CHUNKS + (chunk ^ (line / LINES_A_ROW_OF_BANKS % TWISTS))) * 16;
}

// LINES vectors from `first` on, of each the CHUNKS chunks from `chunk` on; zeros from `end` on.
template <int D, int LINES, int CHUNKS, int THREADS>
__device__ __forceinline__ void copy_tile(uint32_t to, const __nv_bfloat16 *vectors, int first, int end, int chunk) {
    constexpr int STRIDE = THREADS / CHUNKS;  // lines that all threads copy at once
    static_assert(LINES % STRIDE == 0, "every thread copies the same number of chunks");
    const int mine = threadIdx.x / CHUNKS, at = threadIdx.x % CHUNKS;
    const __nv_bfloat16 *from = vectors + static_cast<int64_t>(first + mine) * D + (chunk + at) * CHUNK;
#pragma unroll
    for (int line = 0; line < LINES; line += STRIDE)
        copy_chunk(to + slot<CHUNKS>(line + mine, at), from + line * D, first + line + mine < end);
}

// A warp's (16 MT, 8 NT) tile of dot products. Left lines from `row` on against right lines from `column` on, over
// STEPS x 16 numbers, which begin at chunk `at` of the left lines and chunk 0 of the right ones.
template <int MT, int NT, int STEPS, int LEFT_CHUNKS, int RIGHT_CHUNKS>
__device__ __forceinline__ void add_dot_products(float (&c)[MT][NT][4], uint32_t left, int row, int at, uint32_t right,
                                                 int column) {
    static_assert(NT == 1 || NT % 2 == 0, "right fragments come in pairs");
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
        uint32_t a[MT][4];
#pragma unroll
        for (int i = 0; i < MT; ++i)
            load_fragments(a[i], left + slot<LEFT_CHUNKS>(row + i * 16 + lane % 16, at + step * 2 + lane / 16));
        const int chunk = step * 2 + lane / 8 % 2;
        if constexpr (NT == 1) {
            uint32_t b[2];
            load_fragments(b, right + slot<RIGHT_CHUNKS>(column + lane % 8, chunk));
#pragma unroll
            for (int i = 0; i < MT; ++i) multiply(c[i][0], a[i], b[0], b[1]);
        } else {
#pragma unroll
            for (int j = 0; j < NT; j += 2) {
                uint32_t b[4];
                load_fragments(b, right + slot<RIGHT_CHUNKS>(column + j * 8 + lane / 16 * 8 + lane % 8, chunk));
#pragma unroll
                for (int i = 0; i < MT; ++i) {
                    multiply(c[i][j], a[i], b[0], b[1]);
                    multiply(c[i][j + 1], a[i], b[2], b[3]);
                }
            }
        }
    }
}

// A warp's (16 MT, 8 NT) tile of left (lines from `row` on, LEFT_CHUNKS x 8 long) times right (as many lines), of
// which the numbers from chunk `at` on.
template <int MT, int NT, int LEFT_CHUNKS, int RIGHT_CHUNKS>
__device__ __forceinline__ void add_product(float (&c)[MT][NT][4], uint32_t left, int row, uint32_t right, int at) {
    static_assert(NT % 2 == 0, "right fragments come in pairs");
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int step = 0; step < LEFT_CHUNKS / 2; ++step) {
        uint32_t a[MT][4];
#pragma unroll
        for (int i = 0; i < MT; ++i)
            load_fragments(a[i], left + slot<LEFT_CHUNKS>(row + i * 16 + lane % 16, step * 2 + lane / 16));
#pragma unroll
        for (int j = 0; j < NT; j += 2) {
            uint32_t b[4];
            load_transposed(b, right + slot<RIGHT_CHUNKS>(step * 16 + lane % 16, at + j + lane / 16));
#pragma unroll
            for (int i = 0; i < MT; ++i) {
                multiply(c[i][j], a[i], b[0], b[1]);
                multiply(c[i][j + 1], a[i], b[2], b[3]);
            }
        }
    }
}

}  // namespace ntxent
