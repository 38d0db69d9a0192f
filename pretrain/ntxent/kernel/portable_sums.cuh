// sums of ntxent.h with mma.sync: a block, one super-tile of plan.h.
//
// A strip of rows stays in shared memory while the super-tile's columns pass by, 64 numbers of 128 columns at a time
// in two buffers. Eight warps hold the tile of dot products as 2 x 4. Row sums wait in registers for the strip's
// end; column sums are added, after each tile, to the block's own place in scratch by the same thread each time.
#pragma once

#include "mma.cuh"
#include "pairs.cuh"
#include "plan.h"

namespace ntxent {

template <int D>
struct Sums {
    static constexpr int THREADS = 256;
    static constexpr int ROWS = D <= 256 ? 128 : 64;  // of a strip: the rows of every device's shared memory
    static constexpr int DEPTH = 64;                  // numbers of a column that arrive together
    static constexpr int MT = ROWS / 32, NT = 4;      // a warp's tile in fragments
    static constexpr int STRIP_BYTES = ROWS * D * 2, STAGE_BYTES = TILE_COLUMNS * DEPTH * 2;

    struct Partial {
        float rows[4][ROWS];             // of each warp column
        float columns[2][TILE_COLUMNS];  // of each warp row
    };
    static constexpr int BYTES = STRIP_BYTES + 2 * STAGE_BYTES + sizeof(Partial);
};

// This thread's elements of exp, added along rows and columns.
template <int MT, int NT>
__device__ __forceinline__ void add_exponentials(const float (&c)[MT][NT][4], const Exponential &exponential,
                                                 float (&row_sums)[MT][2], float (&column_sums)[NT][2]) {
#pragma unroll
    for (int i = 0; i < MT; ++i)
#pragma unroll
        for (int j = 0; j < NT; ++j)
#pragma unroll
            for (int x = 0; x < 4; ++x) {
                const float e = exponential(c[i][j][x]);
                row_sums[i][x / 2] += e;
                column_sums[j][x % 2] += e;
            }
}

// The sum over the eight lanes that hold the same columns, in lanes 0 to 3.
__device__ __forceinline__ float over_rows(float sum) {
    sum += __shfl_xor_sync(~0u, sum, 4);
    sum += __shfl_xor_sync(~0u, sum, 8);
    return sum + __shfl_xor_sync(~0u, sum, 16);
}

// The sum over the four lanes that hold the same row.
__device__ __forceinline__ float over_columns(float sum) {
    sum += __shfl_xor_sync(~0u, sum, 1);
    return sum + __shfl_xor_sync(~0u, sum, 2);
}

template <int D>
__global__ void __launch_bounds__(Sums<D>::THREADS, 2) sums_kernel(Operands of, SumsPlan plan, float *row_partials,
                                                                   float *column_partials) {
    using Shape = Sums<D>;
    constexpr int ROWS = Shape::ROWS, MT = Shape::MT, NT = Shape::NT, PARTS = D / Shape::DEPTH;
    constexpr int THREADS = Shape::THREADS;

    const Place place = place_of(plan, blockIdx.x);
    if (plan.triangle && place.row > place.column) return;
    const bool with_columns = plan.both || (plan.triangle && place.row < place.column);
    const int m = of.pairs.m, k = of.pairs.k;
    const int first_row = place.row * plan.side, end_row = min(first_row + plan.side, m);
    const int first_column = place.column * plan.side, end_column = min(first_column + plan.side, k);
    row_partials += static_cast<int64_t>(place.column) * m;
    column_partials += static_cast<int64_t>(place.row) * k;

    extern __shared__ __align__(128) unsigned char memory[];
    const uint32_t strip = shared_address(memory), stages = strip + Shape::STRIP_BYTES;
    auto &partial = *reinterpret_cast<typename Shape::Partial *>(memory + Shape::STRIP_BYTES + 2 * Shape::STAGE_BYTES);

    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int warp_row = warp / 4 * (ROWS / 2), warp_column = warp % 4 * 32;
    const Exponential exponential(of.t);
    int stage = 0;

    for (int row = first_row; row < end_row; row += ROWS) {
        // Nobody reads the strip or the stages any more: the last strip ended with a __syncthreads.
        copy_tile<D, ROWS, D / CHUNK, THREADS>(strip, of.rows, row, m, 0);
        copy_tile<D, TILE_COLUMNS, 8, THREADS>(stages + stage * Shape::STAGE_BYTES, of.columns, first_column, k, 0);
        float row_sums[MT][2] = {};

        for (int column = first_column; column < end_column; column += TILE_COLUMNS) {
            float c[MT][NT][4] = {};
#pragma unroll 1  // unrolled, the addresses of all parts would take the registers
            for (int part = 0; part < PARTS; ++part) {
                wait_for_copies();
                __syncthreads();  // this part is here, and the other stage has been read
                const uint32_t here = stages + stage * Shape::STAGE_BYTES;
                stage ^= 1;
                const uint32_t there = stages + stage * Shape::STAGE_BYTES;
                if (part + 1 < PARTS)
                    copy_tile<D, TILE_COLUMNS, 8, THREADS>(there, of.columns, column, k, (part + 1) * 8);
                else if (column + TILE_COLUMNS < end_column)
                    copy_tile<D, TILE_COLUMNS, 8, THREADS>(there, of.columns, column + TILE_COLUMNS, k, 0);
                add_dot_products<MT, NT, Shape::DEPTH / 16, D / CHUNK, 8>(c, strip, warp_row, part * 8, here, warp_column);
            }
            keep_negatives(c, of, row, ROWS, column, TILE_COLUMNS, row + warp_row + lane / 4,
                           column + warp_column + lane % 4 * 2);
            float column_sums[NT][2] = {};
            add_exponentials(c, exponential, row_sums, column_sums);
            if (!with_columns) continue;
#pragma unroll
            for (int j = 0; j < NT; ++j)
#pragma unroll
                for (int x = 0; x < 2; ++x) {
                    const float sum = over_rows(column_sums[j][x]);
                    if (lane < 4) partial.columns[warp / 4][warp_column + j * 8 + lane * 2 + x] = sum;
                }
            __syncthreads();  // the next write follows at least one more, that of the next tile's first part
            const int mine = threadIdx.x;
            if (mine < TILE_COLUMNS && column + mine < k) {
                const float sum = partial.columns[0][mine] + partial.columns[1][mine];
                float &total = column_partials[column + mine];
                total = row == first_row ? sum : total + sum;
            }
        }

#pragma unroll
        for (int i = 0; i < MT; ++i)
#pragma unroll
            for (int y = 0; y < 2; ++y) {
                const float sum = over_columns(row_sums[i][y]);
                if (lane % 4 == 0) partial.rows[warp % 4][warp_row + i * 16 + y * 8 + lane / 4] = sum;
            }
        __syncthreads();  // the next write follows the next strip's
        const int mine = threadIdx.x;
        if (mine < ROWS && row + mine < m)
            row_partials[row + mine] =
                (partial.rows[0][mine] + partial.rows[1][mine]) + (partial.rows[2][mine] + partial.rows[3][mine]);
    }
}

}  // namespace ntxent
