/* The numbers of the Hopper path, and its order of work. Plain C++, like plan.h: the kernels, their host code and the
 * tests, which model layout and barriers on a machine without a GPU, read the same ones.
 *
 * Two thread blocks form a cluster. They work on different rows against the same columns: each loads half of a tile of
 * columns, and the copy engine writes it into both. In a block one warpgroup loads and two compute.
 */
#ifndef MOLPARALLAX_NTXENT_HOPPER_PLAN_H
#define MOLPARALLAX_NTXENT_HOPPER_PLAN_H

#include "plan.h"

namespace ntxent {
namespace hopper {

constexpr int CLUSTER = 2;
constexpr int WARPGROUP = 128; /* threads */
constexpr int CONSUMER_GROUPS = 2, CONSUMER_WARPS = CONSUMER_GROUPS * WARPGROUP / 32;
constexpr int THREADS = (1 + CONSUMER_GROUPS) * WARPGROUP;
/* A thread's, once the roles are known: (40 + 2 x 232) x 128 <= 65,536. At launch 65,536 / 384 = 168 or less. */
constexpr int PRODUCER_REGISTERS = 40, CONSUMER_REGISTERS = 232;

/* A tile lies in shared memory as panels, each 64 numbers wide: a line of 128 bytes for every vector. The copy engine's
 * 128-byte swizzle permutes the eight 16-byte chunks of line r: chunk c lies at c ^ (r % 8). */
constexpr int PANEL = 64, LINE_BYTES = 128;

NTXENT_EVERYWHERE constexpr int panel_offset(int vectors) { return vectors * LINE_BYTES; }
NTXENT_EVERYWHERE constexpr int place_in_panel(int line, int chunk) {
    return line * LINE_BYTES + (chunk ^ line % 8) * 16;
}

/* What a matrix descriptor needs to know of it, in bytes.
 * K-major (dot products; the numbers of a vector are the summed dimension): eight lines form a group, groups follow
 * each other; of a panel's four steps of 16 numbers each begins 32 bytes after the last, inside the line. A step never
 * leaves its panel, so the leading offset is not used.
 * MN-major (products with the tile's vectors as the summed dimension): 16 vectors are two groups of eight lines; the
 * next 64 numbers of the same vectors lie a panel further. */
constexpr int GROUP_OFFSET = 8 * LINE_BYTES;
constexpr int STEP_IN_LINE = 16 * 2, STEP_IN_LINES = 16 * LINE_BYTES;

/* Arrivals that end a phase of a barrier. `full` also counts bytes. A warp that has read a stage says so to both
 * blocks, because either may not overwrite the half that it sends until nobody reads it any more. */
constexpr int FULL_ARRIVALS = 1;
constexpr int COLUMNS_FREE_ARRIVALS = CLUSTER * CONSUMER_WARPS, ROWS_FREE_ARRIVALS = CONSUMER_WARPS;

constexpr int BARRIER_BYTES = 8;
constexpr int LARGEST_SHARED = 227 * 1024; /* of a block */

static_assert((PRODUCER_REGISTERS + CONSUMER_GROUPS * CONSUMER_REGISTERS) * WARPGROUP <= 65536, "a multiprocessor's");

/* sums: a stage of the ring is one panel of a tile of columns. */
template <int D>
struct SumsShape {
    static constexpr int ROWS = 128, COLUMNS = TILE_COLUMNS; /* of a block's tile; a warpgroup has half the rows */
    static constexpr int PANELS = D / PANEL;
    static constexpr int STAGES = D <= 256 ? 8 : 4;
    static constexpr int ROW_BUFFERS = D <= 128 ? 2 : 1; /* strips of rows that fit */

    static constexpr int STRIP_BYTES = ROWS * D * 2, STAGE_BYTES = panel_offset(COLUMNS);
    static constexpr int STAGES_AT = ROW_BUFFERS * STRIP_BYTES;
    static constexpr int TOTALS_AT = STAGES_AT + STAGES * STAGE_BYTES; /* float [CONSUMER_GROUPS][LARGEST_SIDE] */
    static constexpr int WARPS_AT = TOTALS_AT + CONSUMER_GROUPS * LARGEST_SIDE * 4; /* float [2][warp][COLUMNS] */
    static constexpr int BARRIERS_AT = WARPS_AT + 2 * CONSUMER_WARPS * COLUMNS * 4;
    static constexpr int ROW_BARRIERS = ROW_BUFFERS * PANELS; /* a panel of rows is free when its last tile is done */
    static constexpr int BYTES = BARRIERS_AT + 2 * (STAGES + ROW_BARRIERS) * BARRIER_BYTES;
    static_assert(BYTES <= LARGEST_SHARED && STAGES_AT % GROUP_OFFSET == 0 && STAGE_BYTES % GROUP_OFFSET == 0, "");
};

/* pull: a stage is a whole tile of columns and its weights, because both products read it. Rows stay for a whole pass
 * over the columns. Up to d = 256 a warpgroup owns 64 rows and takes turns with the other at the tensor cores; at 512
 * their output would not fit its registers, so both own the same 64 rows, and each half of the output's width. */
template <int D>
struct PullShape {
    static constexpr bool SHARED_ROWS = D > 256;
    static constexpr int ROWS = SHARED_ROWS ? 64 : 128, COLUMNS = D <= 128 ? 128 : D == 256 ? 96 : 64;
    static constexpr int PANELS = D / PANEL;
    static constexpr int STAGES = D <= 128 ? 4 : D == 256 ? 3 : 2;

    static constexpr int TILE_BYTES = COLUMNS * D * 2, WEIGHT_BYTES = COLUMNS * 4, ROW_BYTES = ROWS * D * 2;
    static constexpr int STAGE_BYTES = TILE_BYTES + WEIGHT_BYTES; /* that arrive, though not in one place */
    static constexpr int STAGES_AT = ROW_BYTES;
    static constexpr int PRODUCTS_AT = STAGES_AT + STAGES * TILE_BYTES; /* bfloat16 [2][ROWS][COLUMNS] if shared */
    static constexpr int PRODUCT_BYTES = SHARED_ROWS ? ROWS * LINE_BYTES : 0;
    static constexpr int WEIGHTS_AT = PRODUCTS_AT + 2 * PRODUCT_BYTES;
    static constexpr int BARRIERS_AT = WEIGHTS_AT + STAGES * WEIGHT_BYTES;
    static constexpr int BYTES = BARRIERS_AT + 2 * (STAGES + 1) * BARRIER_BYTES;
    static_assert(BYTES <= LARGEST_SHARED && STAGES_AT % GROUP_OFFSET == 0 && TILE_BYTES % GROUP_OFFSET == 0, "");
    static_assert(WEIGHTS_AT % 128 == 0 && WEIGHT_BYTES % 128 == 0, "where the copy engine can write");
};

/* A place in a ring, and the parity of the phase in which it is filled and read. */
struct Cursor {
    int stage = 0;
    unsigned phase = 0;

    NTXENT_EVERYWHERE void advance(int stages) {
        if (++stage == stages) stage = 0, phase ^= 1;
    }
};

/* sums, a cluster's work: super-tiles (row, column) and (row + 1, column) of a SumsPlan, a block each. Clusters go
 * through the pairs in rows of pairs; those of a triangle begin at the diagonal. */
struct PairWalk {
    int row, column;

    NTXENT_EVERYWHERE PairWalk(const SumsPlan &plan, int cluster) : row(0), column(0) { advance(plan, cluster); }

    NTXENT_EVERYWHERE void advance(const SumsPlan &plan, int clusters) {
        column += clusters;
        while (row < plan.rows && column >= plan.columns) {
            row += CLUSTER;
            column += (plan.triangle ? row : 0) - plan.columns;
        }
    }

    NTXENT_EVERYWHERE bool done(const SumsPlan &plan) const { return row >= plan.rows; }
};

inline int64_t pairs_in(const SumsPlan &plan) {
    int64_t pairs = 0;
    for (int row = 0; row < plan.rows; row += CLUSTER) pairs += plan.columns - (plan.triangle ? row : 0);
    return pairs;
}

/* The largest side of those with which the clusters are done first. Time counts the rounds of pairs and the tiles of
 * each; that a pair begins and ends is taken for two tiles more, which is a guess. */
inline SumsPlan plan_pairs(int64_t m, int64_t k, bool triangle, bool both, int clusters) {
    constexpr int TO_BEGIN_AND_END = 2;
    SumsPlan best{};
    int64_t least = INT64_MAX;
    for (int side = LARGEST_SIDE; side >= TILE_COLUMNS; side /= 2) {
        const SumsPlan plan{side, pieces(m, side), pieces(k, side), triangle, both};
        const int64_t strips = pieces(m < side ? m : side, TILE_COLUMNS);
        const int64_t tiles = pieces(k < side ? k : side, TILE_COLUMNS);
        const int64_t time = pieces(pairs_in(plan), clusters) * (strips * tiles + TO_BEGIN_AND_END);
        if (time < least) least = time, best = plan;
    }
    return best;
}

}  // namespace hopper
}  // namespace ntxent
#endif
