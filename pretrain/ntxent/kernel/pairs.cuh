// A warp's tile of dot products -> exponentials: pairs that are no negatives are dropped, the rest pass one ex2.
#pragma once

#include "pairs.h"
#include "ptx.cuh"

namespace ntxent {

struct Operands {
    const __nv_bfloat16 *rows, *columns;
    const int64_t *row_ids, *column_ids;
    const float *t;
    Pairs pairs;
};

inline Operands operands_of(const NtxentProblem &p) {
    return {static_cast<const __nv_bfloat16 *>(p.rows), static_cast<const __nv_bfloat16 *>(p.columns),
            p.row_ids, p.column_ids, p.t, pairs_of(p)};
}

// exp(t dot - c) = 2^(dot scale + shift), c of (2')
struct Exponential {
    float scale, shift;

    __device__ __forceinline__ explicit Exponential(const float *t) {
        constexpr float LOG2_E = 1.4426950408889634f;
        scale = *t * LOG2_E;
        shift = -fmaxf(*t - 60.0f, 0.0f) * LOG2_E;
    }

    __device__ __forceinline__ float operator()(float dot) const { return exp2_fast(fmaf(dot, scale, shift)); }
};

// A dot product whose exponential is zero.
__device__ __forceinline__ float nothing() { return -INFINITY; }

// `row` and `column` are those of c[0][0][0], this thread's first; the others follow the fragments of mma.cuh.
template <int MT, int NT>
__device__ __forceinline__ void drop_positives_and_edges(float (&c)[MT][NT][4], const Pairs &pairs, int row, int column) {
#pragma unroll
    for (int i = 0; i < MT; ++i)
#pragma unroll
        for (int y = 0; y < 2; ++y) {
            const Others others = others_of(pairs, row + i * 16 + y * 8);
#pragma unroll
            for (int j = 0; j < NT; ++j)
#pragma unroll
                for (int x = 0; x < 2; ++x)
                    if (!is_negative(others, column + j * 8 + x)) c[i][j][y * 2 + x] = nothing();
        }
}

__device__ __forceinline__ int64_t id_at(const int64_t *ids, int at, int end) { return load_again(ids + min(at, end - 1)); }

template <int MT, int NT>
__device__ __forceinline__ void drop_equal_ids(float (&c)[MT][NT][4], const Operands &of, int row, int column) {
#pragma unroll
    for (int j = 0; j < NT; ++j)
#pragma unroll
        for (int x = 0; x < 2; ++x) {
            const int64_t id = id_at(of.column_ids, column + j * 8 + x, of.pairs.k);
#pragma unroll
            for (int i = 0; i < MT; ++i)
#pragma unroll
                for (int y = 0; y < 2; ++y)
                    if (id == id_at(of.row_ids, row + i * 16 + y * 8, of.pairs.m)) c[i][j][y * 2 + x] = nothing();
        }
}

// The warp's tile lies in a block's tile of `rows` x `columns` pairs from (first_row, first_column) on.
template <int MT, int NT>
__device__ __forceinline__ void keep_negatives(float (&c)[MT][NT][4], const Operands &of, int first_row, int rows,
                                               int first_column, int columns, int row, int column) {
    if (!all_negatives(of.pairs, first_row, rows, first_column, columns))
        drop_positives_and_edges(c, of.pairs, row, column);
    if (of.row_ids) drop_equal_ids(c, of, row, column);
}

}  // namespace ntxent
