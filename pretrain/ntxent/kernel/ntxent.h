/* The two products of NT-Xent that cost anything, as a library without torch in it.
 *
 * m rows, k columns, d width. Equations (2') and (4') of pretrain/ntxent/__init__.py; e_ij = exp(t <u_i, v_j> - c),
 * c = max(0, t - 60), and zero where j is row i itself, its positive, or a molecule with row i's id.
 *
 *     sums:  row_sums_i = sum_j e_ij,  and by option  column_sums_j = sum_i e_ij
 *     pull:  out_i      = sum_j e_ij (row_weights_i + column_weights_j) v_j
 *
 * Neither holds the m x k exponentials. All pointers are on the device of the stream, contiguous, 16-byte aligned.
 * A call returns a cudaError_t, 0 for success, and never waits for the device. Equal input gives equal bits: no
 * atomics, partial sums are added in a fixed order.
 */
#ifndef MOLPARALLAX_NTXENT_H
#define MOLPARALLAX_NTXENT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* all else in the library is hidden */

typedef struct {
    const void *rows;          /* (m, d) bfloat16, unit vectors */
    const void *columns;       /* (k, d) bfloat16, unit vectors */
    const int64_t *row_ids;    /* (m), or null: no molecule is masked */
    const int64_t *column_ids; /* (k), null together with row_ids */
    const float *t;            /* () 1 / temperature: on the device, so that a learned one costs no wait */
    int64_t m, k;
    int64_t d;    /* 64, 128, 256 or 512 */
    int64_t own;  /* the column of row 0 itself (pair > 0) or of its positive (pair = 0); -1: rows are not among the columns */
    int64_t pair; /* n: rows are [own, own + 2n), i and i +- n one molecule's views (SimCLR); 0: column own + i is row i's positive (CLIP) */
} NtxentProblem;

enum { NTXENT_PORTABLE = 0, NTXENT_HOPPER = 1 };

enum { NTXENT_ROW_SUMS = 0, NTXENT_PULL = 1, NTXENT_BOTH_SUMS = 2 };

/* The calling thread's device, for all that follows. The library has a CUDA runtime of its own, whose current device
 * need not be torch's. */
int molparallax_ntxent_device(int ordinal);

/* Bytes of scratch that a pass needs on this path: sums without column_sums, pull, or sums with column_sums. An
 * unsupported problem or device is an error. */
int molparallax_ntxent_scratch(const NtxentProblem *problem, int path, int pass, size_t *bytes);

/* column_sums null and rows == columns and own == 0 and k == m: only the upper triangle is computed. */
int molparallax_ntxent_sums(const NtxentProblem *problem, int path, float *row_sums, float *column_sums,
                            void *scratch, void *stream);

/* out (m, d) float32. */
int molparallax_ntxent_pull(const NtxentProblem *problem, int path, const float *row_weights,
                            const float *column_weights, float *out, void *scratch, void *stream);

/* Best path of the current device, or -1: none. Works without a driver. */
int molparallax_ntxent_path(void);

/* The words for an error, for messages. */
const char *molparallax_ntxent_error(int code);

/* The fingerprint of the sources that this library was built from, as build.py computes it. */
const char *molparallax_ntxent_sources(void);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif
#endif
