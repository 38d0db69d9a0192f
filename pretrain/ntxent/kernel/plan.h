/* How the portable path cuts a problem into pieces of work. Plain C++, like pairs.h, for the same reason.
 *
 * sums: the m x k pairs are cut into square super-tiles, one thread block each. A block goes through its rows in
 * strips and writes one partial sum a row (and a column, where asked) to its own place in scratch; a second kernel
 * adds the partial sums of each row in order. In a triangle the super-tiles below the diagonal are left out, and the
 * column sums of those above it stand in for their row sums.
 *
 * pull: a block owns some rows and goes through the columns. Where the rows alone cannot keep the device busy, the
 * columns are split over several blocks, whose outputs are added in order.
 */
#ifndef MOLPARALLAX_NTXENT_PLAN_H
#define MOLPARALLAX_NTXENT_PLAN_H

#include "pairs.h"

namespace ntxent {

constexpr int TILE_COLUMNS = 128;   /* columns of a tile of sums */
constexpr int LARGEST_SIDE = 2048;  /* of a super-tile; larger ones would not share the L2 cache's rows */
constexpr int BAND = 16;            /* super-tile rows that are worked on together, to share their columns */
constexpr int64_t LARGEST_SPLIT_BYTES = int64_t{64} << 20;

NTXENT_EVERYWHERE int pieces(int64_t length, int piece) { return static_cast<int>((length + piece - 1) / piece); }

struct SumsPlan {
    int side;          /* edge of a super-tile */
    int rows, columns; /* super-tiles along m and k */
    bool triangle, both;
};

/* The largest side that gives every multiprocessor eight super-tiles: less scratch, and an even load. */
inline SumsPlan plan_sums(int64_t m, int64_t k, bool triangle, bool both, int multiprocessors) {
    int side = LARGEST_SIDE;
    for (; side > TILE_COLUMNS; side /= 2) {
        int64_t rows = pieces(m, side), columns = pieces(k, side);
        int64_t work = triangle ? rows * (rows + 1) / 2 : rows * columns;
        if (work >= 8 * multiprocessors) break;
    }
    return {side, pieces(m, side), pieces(k, side), triangle, both};
}

/* Partial sums: for each row one of every super-tile column, then for each column one of every super-tile row. */
inline size_t scratch_of_sums(const SumsPlan &plan, int64_t m, int64_t k) {
    size_t floats = static_cast<size_t>(plan.columns) * m;
    if (plan.both) floats += static_cast<size_t>(plan.rows) * k;
    return floats * sizeof(float);
}

struct Place {
    int row, column;
};

/* Thread blocks to launch; those of a triangle's bands that fall below the diagonal have nothing to do. */
inline int64_t blocks_of_sums(const SumsPlan &plan) {
    if (!plan.triangle) return int64_t{plan.rows} * plan.columns;
    int64_t blocks = 0;
    for (int first = 0; first < plan.rows; first += BAND) {
        int height = plan.rows - first < BAND ? plan.rows - first : BAND;
        blocks += int64_t{height} * (plan.columns - first);
    }
    return blocks;
}

/* Block -> super-tile: bands of rows from top to bottom, in a band column by column. */
NTXENT_EVERYWHERE Place place_of(const SumsPlan &plan, int block) {
    for (int first = 0;; first += BAND) {
        int height = plan.rows - first < BAND ? plan.rows - first : BAND;
        int start = plan.triangle ? first : 0;
        int blocks = height * (plan.columns - start);
        if (block < blocks) return {first + block % height, start + block / height};
        block -= blocks;
    }
}

struct PullPlan {
    int row_blocks, splits;
};

/* The smallest number of splits that keeps nine tenths of the device busy, or else the best there is. */
inline PullPlan plan_pull(int64_t m, int64_t k, int64_t d, int rows, int tile_columns, int multiprocessors) {
    int row_blocks = pieces(m, rows), tiles = pieces(k, tile_columns);
    int best = 1;
    double busiest = 0;
    for (int splits = 1; splits <= tiles && splits <= 64; ++splits) {
        if (splits > 1 && splits * m * d * int64_t{sizeof(float)} > LARGEST_SPLIT_BYTES) break;
        int64_t blocks = int64_t{row_blocks} * splits;
        int waves = pieces(blocks, multiprocessors);
        double busy = static_cast<double>(blocks) / (static_cast<double>(waves) * multiprocessors);
        if (busy > busiest) busiest = busy, best = splits;
        if (busy >= 0.9) break;
    }
    return {row_blocks, best};
}

inline size_t scratch_of_pull(const PullPlan &plan, int64_t m, int64_t d) {
    return plan.splits == 1 ? 0 : static_cast<size_t>(plan.splits) * m * d * sizeof(float);
}

/* The first tile of a split; split + 1 gives its end. */
NTXENT_EVERYWHERE int first_tile(int tiles, int split, int splits) {
    return static_cast<int>(int64_t{tiles} * split / splits);
}

}  // namespace ntxent
#endif
