// sums of ntxent.h with wgmma: a cluster goes through pairs of super-tiles, each of its blocks through one of the two,
// in strips of 128 rows.
//
// A strip stays in shared memory while the super-tile's columns pass by, a panel of 128 columns at a time. While the
// tensor cores work on a warpgroup's 64 x 128 dot products, it adds the exponentials of the tile before, the exponents
// of which wait in registers. Row sums wait there too, for the strip's end, and column sums in shared memory for the
// super-tile's. A block that has no super-tile of its own, below the diagonal or the last row, goes along for the half
// of the columns that it loads for the other, and keeps nothing.
#pragma once

#include "hopper_plan.h"
#include "hopper_products.cuh"
#include "hopper_ring.cuh"
#include "pairs.cuh"

namespace ntxent {
namespace hopper {

// What a block does of its cluster's pair of super-tiles. Both blocks take the same steps.
template <class Shape>
struct SumsWork {
    Place place;
    int first_row, first_column, strips, tiles;
    bool kept, with_columns;

    __device__ __forceinline__ SumsWork(const SumsPlan &plan, const Pairs &pairs, const PairWalk &walk, int rank) {
        place = {walk.row + rank, walk.column};
        first_row = place.row * plan.side, first_column = place.column * plan.side;
        strips = pieces(min(plan.side, pairs.m - walk.row * plan.side), Shape::ROWS);
        tiles = pieces(min(plan.side, pairs.k - first_column), Shape::COLUMNS);
        kept = place.row < plan.rows && (!plan.triangle || place.row <= place.column);
        with_columns = kept && (plan.both || (plan.triangle && place.row < place.column));
    }
};

template <class Shape>
struct SumsBarriers {
    Barriers<Shape::STAGES> columns;
    Barriers<Shape::ROW_BARRIERS> rows;

    __device__ __forceinline__ explicit SumsBarriers(uint32_t memory)
        : columns(memory + Shape::BARRIERS_AT), rows(columns.end()) {}

    __device__ __forceinline__ void make() const {
        columns.make(COLUMNS_FREE_ARRIVALS);
        rows.make(ROWS_FREE_ARRIVALS);
    }
};

// One thread: panel after panel of the columns, half of each, to both blocks.
template <class Shape>
__device__ __forceinline__ void load_columns_of_sums(const CUtensorMap &columns, const SumsPlan &plan,
                                                     const Pairs &pairs, uint32_t memory) {
    const SumsBarriers<Shape> barriers(memory);
    const int rank = rank_in_cluster(), clusters = gridDim.x / CLUSTER;
    Cursor at;
    for (PairWalk walk(plan, blockIdx.x / CLUSTER); !walk.done(plan); walk.advance(plan, clusters)) {
        const SumsWork<Shape> work(plan, pairs, walk, rank);
        for (int strip = 0; strip < work.strips; ++strip)
            for (int tile = 0; tile < work.tiles; ++tile)
                for (int panel = 0; panel < Shape::PANELS; ++panel) {
                    const uint32_t stage = memory + Shape::STAGES_AT + at.stage * Shape::STAGE_BYTES;
                    const uint32_t full = barriers.columns.start_filling(at, Shape::STAGE_BYTES);
                    load_half(stage, columns, panel, work.first_column + tile * Shape::COLUMNS, Shape::COLUMNS, full);
                    at.advance(Shape::STAGES);
                }
    }
}

// Another thread: the panels of each strip of rows, as those of the last strip become free.
template <class Shape>
__device__ __forceinline__ void load_rows_of_sums(const CUtensorMap &rows, const SumsPlan &plan, const Pairs &pairs,
                                                  uint32_t memory) {
    const SumsBarriers<Shape> barriers(memory);
    const int rank = rank_in_cluster(), clusters = gridDim.x / CLUSTER;
    Cursor at;
    for (PairWalk walk(plan, blockIdx.x / CLUSTER); !walk.done(plan); walk.advance(plan, clusters)) {
        const SumsWork<Shape> work(plan, pairs, walk, rank);
        for (int strip = 0; strip < work.strips; ++strip)
            for (int panel = 0; panel < Shape::PANELS; ++panel) {
                const uint32_t to = memory + at.stage * panel_offset(Shape::ROWS);
                const uint32_t full = barriers.rows.start_filling(at, panel_offset(Shape::ROWS));
                load_box(to, rows, panel * PANEL, work.first_row + strip * Shape::ROWS, full);
                at.advance(Shape::ROW_BARRIERS);
            }
    }
}

// A thread of the two warpgroups that compute.
template <class Shape>
struct Summing {
    static constexpr int NT = Shape::COLUMNS / 8, PART = NT / Shape::PANELS;  // fragments; those of a panel's turn

    struct Step {
        int strip = 0, tile = 0;
    };

    const Operands &of;
    const SumsPlan &plan;
    float *const row_partials, *const column_partials;
    unsigned char *const bytes = dynamic_memory();
    const uint32_t memory = shared_address(bytes);
    const SumsBarriers<Shape> barriers{memory};
    const int thread = threadIdx.x % WARPGROUP, group = threadIdx.x / WARPGROUP - 1, lane = threadIdx.x % 32;
    const Exponential exponential{of.t};
    Cursor columns{}, used_columns{}, rows{}, used_rows{};  // being read, and given back next
    float row_sums[2] = {};
    int turn = 0;  // of the two places where warps leave their column sums

    __device__ __forceinline__ void run() {
        const int rank = rank_in_cluster(), clusters = gridDim.x / CLUSTER;
        for (PairWalk walk(plan, blockIdx.x / CLUSTER); !walk.done(plan); walk.advance(plan, clusters))
            add_super_tile({plan, of.pairs, walk, rank});
    }

    __device__ __forceinline__ void add_super_tile(const SumsWork<Shape> &work) {
        Step now, before;
        float exponents[NT][4];
#pragma unroll
        for (int j = 0; j < NT; ++j)
#pragma unroll
            for (int x = 0; x < 4; ++x) exponents[j][x] = nothing();
#pragma unroll 1
        for (int n = 0; n < work.strips * work.tiles; ++n) {
            float products[1][NT][4], column_sums[NT][2];
            multiply(products, exponents, column_sums, work, now);
            if (n > 0) finish_tile(column_sums, work, before);
            keep_negatives_of(products, work, now);
#pragma unroll
            for (int j = 0; j < NT; ++j)
#pragma unroll
                for (int x = 0; x < 4; ++x)
                    exponents[j][x] = fmaf(products[0][j][x], exponential.scale, exponential.shift);
            before = now;
            if (++now.tile == work.tiles) {
                now.tile = 0, ++now.strip;
                advance_strip(rows);
            }
        }
        float column_sums[NT][2];
#pragma unroll
        for (int panel = 0; panel < Shape::PANELS; ++panel) add_exponentials(exponents, column_sums, panel);
        finish_tile(column_sums, work, before);
        if (work.with_columns) write_column_sums(work);
    }

    // The products of one step, and meanwhile the sums of the last one's exponentials.
    __device__ __forceinline__ void multiply(float (&products)[1][NT][4], const float (&exponents)[NT][4],
                                             float (&column_sums)[NT][2], const SumsWork<Shape> &work,
                                             const Step &now) {
#pragma unroll
        for (int panel = 0; panel < Shape::PANELS; ++panel) {
            const int row_panel = rows.stage + panel;
            barriers.rows.wait_until_full(row_panel, rows.phase);
            barriers.columns.wait_until_full(columns.stage, columns.phase);
            begin_products();
            multiply_panel(products, memory + row_panel * panel_offset(Shape::ROWS) + group * 64 * LINE_BYTES,
                           memory + Shape::STAGES_AT + columns.stage * Shape::STAGE_BYTES, panel == 0);
            end_products();
            columns.advance(Shape::STAGES);
            if (panel > 0) {
                wait_for_products<1>();
                give_back(work, now, panel - 1);
            }
            add_exponentials(exponents, column_sums, panel);
        }
        wait_for_products<0>();
        hold(products);
        give_back(work, now, Shape::PANELS - 1);
    }

    static __device__ __forceinline__ void advance_strip(Cursor &at) {
        at.stage += Shape::PANELS;
        if (at.stage == Shape::ROW_BARRIERS) at.stage = 0, at.phase ^= 1;
    }

    __device__ __forceinline__ int row_in_group() const { return thread / 32 * 16 + lane / 4; }

    // The products of this step and panel are done: nobody of this warp reads its columns again, nor, in the strip's
    // last step, its rows.
    __device__ __forceinline__ void give_back(const SumsWork<Shape> &work, const Step &step, int panel) {
        barriers.columns.give_back_to_both(used_columns.stage, lane);
        used_columns.advance(Shape::STAGES);
        if (step.tile + 1 < work.tiles) return;
        barriers.rows.give_back(used_rows.stage + panel, lane);
        if (panel == Shape::PANELS - 1) advance_strip(used_rows);
    }

    __device__ __forceinline__ void keep_negatives_of(float (&tile)[1][NT][4], const SumsWork<Shape> &work,
                                                      const Step &step) {
        const int row = work.first_row + step.strip * Shape::ROWS + group * 64;
        const int column = work.first_column + step.tile * Shape::COLUMNS;
        keep_negatives(tile, of, row, 64, column, Shape::COLUMNS, row + row_in_group(), column + lane % 4 * 2);
    }

    __device__ __forceinline__ void add_exponentials(const float (&exponents)[NT][4], float (&column_sums)[NT][2],
                                                     int panel) {
#pragma unroll
        for (int j = panel * PART; j < (panel + 1) * PART; ++j)
#pragma unroll
            for (int x = 0; x < 2; ++x) {
                const float upper = exp2_fast(exponents[j][x]), lower = exp2_fast(exponents[j][2 + x]);
                row_sums[0] += upper;
                row_sums[1] += lower;
                column_sums[j][x] = upper + lower;
            }
    }

    __device__ __forceinline__ void finish_tile(float (&column_sums)[NT][2], const SumsWork<Shape> &work,
                                                const Step &step) {
        if (work.with_columns) add_column_sums(column_sums, step);
        if (step.tile + 1 < work.tiles) return;
#pragma unroll
        for (int y = 0; y < 2; ++y) {
            float sum = row_sums[y];
            sum += __shfl_xor_sync(~0u, sum, 1);
            sum += __shfl_xor_sync(~0u, sum, 2);
            const int row = work.first_row + step.strip * Shape::ROWS + group * 64 + row_in_group() + y * 8;
            if (work.kept && lane % 4 == 0 && row < of.pairs.m)
                row_partials[static_cast<int64_t>(work.place.column) * of.pairs.m + row] = sum;
            row_sums[y] = 0;
        }
    }

    // Of the eight lanes with the same columns each sends half of its sums to another and keeps the rest, three times.
    // Then the group's four warps leave theirs side by side, and each thread adds up a column.
    __device__ __forceinline__ void add_column_sums(float (&sums)[NT][2], const Step &step) {
        halve<NT / 2, 16>(sums);
        halve<NT / 4, 8>(sums);
        halve<NT / 8, 4>(sums);
        const int first = lane / 4 * (NT / 8) * 8 + lane % 4 * 2;
        float *const of_warps = reinterpret_cast<float *>(bytes + Shape::WARPS_AT) +
                                (turn * CONSUMER_WARPS + group * 4) * Shape::COLUMNS;
#pragma unroll
        for (int j = 0; j < NT / 8; ++j)
            *reinterpret_cast<float2 *>(of_warps + thread / 32 * Shape::COLUMNS + first + j * 8) =
                make_float2(sums[j][0], sums[j][1]);
        synchronise(1 + group, WARPGROUP);
        turn ^= 1;  // the next sums go elsewhere, and those after it follow another synchronise

        static_assert(Shape::COLUMNS == WARPGROUP, "a thread for each column");
        const float *const column = of_warps + thread;
        const float sum =
            (column[0] + column[Shape::COLUMNS]) + (column[2 * Shape::COLUMNS] + column[3 * Shape::COLUMNS]);
        float &total = totals(group)[step.tile * Shape::COLUMNS + thread];
        total = step.strip == 0 ? sum : total + sum;
    }

    template <int KEPT, int LANES>
    __device__ __forceinline__ void halve(float (&sums)[NT][2]) {
        const bool upper = lane & LANES;
#pragma unroll
        for (int j = 0; j < KEPT; ++j)
#pragma unroll
            for (int x = 0; x < 2; ++x) {
                const float sent = upper ? sums[j][x] : sums[j + KEPT][x];
                const float kept = upper ? sums[j + KEPT][x] : sums[j][x];
                sums[j][x] = kept + __shfl_xor_sync(~0u, sent, LANES);
            }
    }

    __device__ __forceinline__ float *totals(int of_group) {
        return reinterpret_cast<float *>(bytes + Shape::TOTALS_AT) + of_group * LARGEST_SIDE;
    }

    __device__ __forceinline__ void write_column_sums(const SumsWork<Shape> &work) {
        synchronise(1 + CONSUMER_GROUPS, CONSUMER_GROUPS * WARPGROUP);
        const int count = min(plan.side, of.pairs.k - work.first_column);
        float *const to = column_partials + static_cast<int64_t>(work.place.row) * of.pairs.k + work.first_column;
        for (int at = group * WARPGROUP + thread; at < count; at += CONSUMER_GROUPS * WARPGROUP)
            to[at] = totals(0)[at] + totals(1)[at];
        synchronise(1 + CONSUMER_GROUPS, CONSUMER_GROUPS * WARPGROUP);
    }
};

template <int D>
NTXENT_HOPPER_KERNEL(CLUSTER, THREADS)
    cluster_sums(const __grid_constant__ CUtensorMap rows, const __grid_constant__ CUtensorMap columns,
                 Operands of, SumsPlan plan, float *row_partials, float *column_partials) {
#ifdef NTXENT_HOPPER_CODE
    using Shape = SumsShape<D>;
    const uint32_t memory = shared_address(dynamic_memory());
    start_cluster(SumsBarriers<Shape>(memory));
    if (threadIdx.x < WARPGROUP) {
        give_up_registers<PRODUCER_REGISTERS>();
        if (threadIdx.x == 0) load_columns_of_sums<Shape>(columns, plan, of.pairs, memory);
        if (threadIdx.x == 32) load_rows_of_sums<Shape>(rows, plan, of.pairs, memory);
        __syncwarp();
    } else {
        take_registers<CONSUMER_REGISTERS>();
        Summing<Shape>{of, plan, row_partials, column_partials}.run();
    }
    synchronise_cluster();  // the other block may still send its arrivals here
#endif
}

}  // namespace hopper
}  // namespace ntxent
