/* The two ways to compute the two products of ntxent.h. library.cu checks the problem and chooses; a path may rely
 * on what it checked. Each function returns a cudaError_t and launches on the given stream without waiting.
 */
#ifndef MOLPARALLAX_NTXENT_PATHS_H
#define MOLPARALLAX_NTXENT_PATHS_H

#include <cuda_runtime.h>

#include "ntxent.h"

/* mma.sync and cp.async: compute capability 8.0 and later. */
int portable_scratch(const NtxentProblem *problem, int pass, size_t *bytes);
int portable_sums(const NtxentProblem *problem, float *row_sums, float *column_sums, void *scratch, void *stream);
int portable_pull(const NtxentProblem *problem, const float *row_weights, const float *column_weights, float *out,
                  void *scratch, void *stream);

/* wgmma, TMA and clusters: compute capability 9.0, compiled for sm_90a and to nothing for all others. */
int hopper_scratch(const NtxentProblem *problem, int pass, size_t *bytes);
int hopper_sums(const NtxentProblem *problem, float *row_sums, float *column_sums, void *scratch, void *stream);
int hopper_pull(const NtxentProblem *problem, const float *row_weights, const float *column_weights, float *out,
                void *scratch, void *stream);

/* Only the upper triangle needs computing: rows and columns are the same, and only row sums are asked for. */
static inline int is_triangle(const NtxentProblem *p, const float *column_sums) {
    return !column_sums && p->rows == p->columns && p->row_ids == p->column_ids && p->own == 0 && p->m == p->k;
}

#endif
