// pull of ntxent.h with mma.sync: a block owns ROWS rows and goes through its split of the columns.
//
// Each tile of columns is copied once and used twice, as in FlashAttention-2 with keys for values: dot products, their
// weighted exponentials W in bfloat16, and W times the same columns. Eight warps are 4 x 2: for the dot products the
// two of a pair halve the tile's columns, for the product W V its width, and in between they exchange W.
#pragma once

#include "mma.cuh"
#include "pairs.cuh"
#include "plan.h"

namespace ntxent {

template <int D_, int ROWS_, int COLUMNS_>
struct Pull {
    static constexpr int D = D_, ROWS = ROWS_, COLUMNS = COLUMNS_, THREADS = 256;
    static constexpr int MT = ROWS / 64;       // a warp's rows in fragments
    static constexpr int NT = COLUMNS / 16;    // its columns of the dot products
    static constexpr int WT = D / 16;          // its width of the output
    static constexpr int ROWS_BYTES = ROWS * D * 2, STAGE_BYTES = COLUMNS * D * 2, WEIGHTS_BYTES = ROWS * COLUMNS * 2;
    static constexpr int BYTES = ROWS_BYTES + 2 * STAGE_BYTES + WEIGHTS_BYTES;
};

__device__ __forceinline__ float weight_at(const float *weights, int at, int end) {
    return at < end ? __ldg(weights + at) : 0.0f;
}

// e_ij (row_weights_i + column_weights_j) of this thread's elements, to W in shared memory.
template <int MT, int NT, int CHUNKS>
__device__ __forceinline__ void store_weighted(const float (&c)[MT][NT][4], const Exponential &exponential,
                                               const float (&row_weights)[MT][2], const float (&column_weights)[NT][2],
                                               unsigned char *w, int row, int chunk) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < MT; ++i)
#pragma unroll
        for (int j = 0; j < NT; ++j)
#pragma unroll
            for (int y = 0; y < 2; ++y) {
                const float left = exponential(c[i][j][y * 2]) * (row_weights[i][y] + column_weights[j][0]);
                const float right = exponential(c[i][j][y * 2 + 1]) * (row_weights[i][y] + column_weights[j][1]);
                const uint32_t at = slot<CHUNKS>(row + i * 16 + y * 8 + lane / 4, chunk + j) + lane % 4 * 4;
                *reinterpret_cast<__nv_bfloat162 *>(w + at) = __floats2bfloat162_rn(left, right);
            }
}

template <class Shape>
__global__ void __launch_bounds__(Shape::THREADS, 1) pull_kernel(Operands of, PullPlan plan, const float *row_weights,
                                                                 const float *column_weights, float *out) {
    constexpr int D = Shape::D, ROWS = Shape::ROWS, COLUMNS = Shape::COLUMNS, THREADS = Shape::THREADS;
    constexpr int MT = Shape::MT, NT = Shape::NT, WT = Shape::WT;
    const int m = of.pairs.m, k = of.pairs.k;
    const int first_row = static_cast<int>(blockIdx.x) % plan.row_blocks * ROWS;
    const int split = static_cast<int>(blockIdx.x) / plan.row_blocks;
    const int tiles = pieces(k, COLUMNS);
    const int end = first_tile(tiles, split + 1, plan.splits);

    extern __shared__ __align__(128) unsigned char memory[];
    const uint32_t rows = shared_address(memory), stages = rows + Shape::ROWS_BYTES;
    unsigned char *const w = memory + Shape::ROWS_BYTES + 2 * Shape::STAGE_BYTES;

    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, half = warp % 2;
    const int warp_row = warp / 2 * (16 * MT);
    const Exponential exponential(of.t);
    int tile = first_tile(tiles, split, plan.splits), stage = 0;
    copy_tile<D, ROWS, D / CHUNK, THREADS>(rows, of.rows, first_row, m, 0);
    copy_tile<D, COLUMNS, D / CHUNK, THREADS>(stages, of.columns, tile * COLUMNS, k, 0);

    float of_rows[MT][2], total[MT][WT][4] = {};
#pragma unroll
    for (int i = 0; i < MT; ++i)
#pragma unroll
        for (int y = 0; y < 2; ++y) of_rows[i][y] = weight_at(row_weights, first_row + warp_row + i * 16 + y * 8 + lane / 4, m);

    for (; tile < end; ++tile) {
        wait_for_copies();
        __syncthreads();  // this tile is here; the other stage and W have been read
        const uint32_t here = stages + stage * Shape::STAGE_BYTES;
        stage ^= 1;
        if (tile + 1 < end)
            copy_tile<D, COLUMNS, D / CHUNK, THREADS>(stages + stage * Shape::STAGE_BYTES, of.columns, (tile + 1) * COLUMNS, k, 0);

        const int column = tile * COLUMNS + half * (COLUMNS / 2) + lane % 4 * 2;
        float of_columns[NT][2];  // asked for early: the product hides the wait
#pragma unroll
        for (int j = 0; j < NT; ++j)
#pragma unroll
            for (int x = 0; x < 2; ++x) of_columns[j][x] = weight_at(column_weights, column + j * 8 + x, k);

        float c[MT][NT][4] = {};
        add_dot_products<MT, NT, D / 16, D / CHUNK, D / CHUNK>(c, rows, warp_row, 0, here, half * (COLUMNS / 2));
        keep_negatives(c, of, first_row, ROWS, tile * COLUMNS, COLUMNS, first_row + warp_row + lane / 4, column);
        store_weighted<MT, NT, COLUMNS / CHUNK>(c, exponential, of_rows, of_columns, w, warp_row, half * NT);
        synchronise_pair(warp / 2);
        add_product<MT, WT, COLUMNS / CHUNK, D / CHUNK>(total, shared_address(w), warp_row, here, half * WT);
    }

    out += static_cast<int64_t>(split) * m * D + half * (D / 2) + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < MT; ++i)
#pragma unroll
        for (int y = 0; y < 2; ++y) {
            const int row = first_row + warp_row + i * 16 + y * 8 + lane / 4;
            if (row >= m) continue;
#pragma unroll
            for (int j = 0; j < WT; ++j)
                *reinterpret_cast<float2 *>(out + static_cast<int64_t>(row) * D + j * 8) =
                    make_float2(total[i][j][y * 2], total[i][j][y * 2 + 1]);
        }
}

}  // namespace ntxent
