/* Which pairs of a row and a column are no negatives. Plain C++: the same functions run in the kernels, and in the
 * tests on a machine without a GPU.
 */
#ifndef MOLPARALLAX_NTXENT_PAIRS_H
#define MOLPARALLAX_NTXENT_PAIRS_H

#include "ntxent.h"

#ifdef __CUDACC__
#define NTXENT_EVERYWHERE __host__ __device__ __forceinline__
#else
#define NTXENT_EVERYWHERE inline
#endif

namespace ntxent {

struct Pairs {
    int m, k;
    int own, pair; /* as in NtxentProblem */
};

inline Pairs pairs_of(const NtxentProblem &p) {
    return {static_cast<int>(p.m), static_cast<int>(p.k), static_cast<int>(p.own), static_cast<int>(p.pair)};
}

/* What row i may not be compared with: column `itself`, column `positive`, and columns from `end` on. */
struct Others {
    int itself, positive, end;
};

NTXENT_EVERYWHERE Others others_of(const Pairs &p, int i) {
    int end = i < p.m ? p.k : 0;
    if (p.own < 0) return {-1, -1, end};
    int across = i < p.pair ? p.pair : -p.pair; /* zero in the CLIP form, where only column own + i is masked */
    return {p.own + i, p.own + i + across, end};
}

NTXENT_EVERYWHERE bool is_negative(const Others &others, int j) {
    return j < others.end && j != others.itself && j != others.positive;
}

/* A diagonal j - i = apart crosses the tile of these rows and columns. */
NTXENT_EVERYWHERE bool crosses(int apart, int row, int rows, int column, int columns) {
    int lowest = column - (row + rows - 1), highest = column + columns - 1 - row;
    return lowest <= apart && apart <= highest;
}

/* No pair of the tile needs a look: a quick test that may err on the careful side. */
NTXENT_EVERYWHERE bool all_negatives(const Pairs &p, int row, int rows, int column, int columns) {
    if (row + rows > p.m || column + columns > p.k) return false;
    if (p.own < 0) return true;
    return !crosses(p.own, row, rows, column, columns) && !crosses(p.own + p.pair, row, rows, column, columns) &&
           !crosses(p.own - p.pair, row, rows, column, columns);
}

}  // namespace ntxent
#endif
