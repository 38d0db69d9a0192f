// The functions of ntxent.h: what a problem must be, and which path computes it.
#include "paths.h"

namespace {

constexpr int64_t LARGEST = int64_t{1} << 25;  // rows or columns: places and blocks are counted in 32 bits

bool aligned(const void *pointer) { return pointer && reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

bool is_supported(const NtxentProblem &p) {
    const bool sizes = p.m >= 1 && p.m <= LARGEST && p.k >= 1 && p.k <= LARGEST;
    const bool width = p.d == 64 || p.d == 128 || p.d == 256 || p.d == 512;
    const bool place = p.own == -1 || (p.own >= 0 && p.own <= p.k - p.m);
    const bool form = p.pair == 0 || p.m == 2 * p.pair;
    return sizes && width && place && form && !p.row_ids == !p.column_ids;
}

bool has_operands(const NtxentProblem &p) { return aligned(p.rows) && aligned(p.columns) && p.t; }

/* The path's functions can run on the current device. */
cudaError_t check_path(int path) {
    const int best = molparallax_ntxent_path();
    if (best < 0) return cudaErrorInvalidDevice;
    return path >= 0 && path <= best ? cudaSuccess : cudaErrorInvalidValue;
}

int check(const NtxentProblem *problem, int path) {
    if (!problem || !is_supported(*problem)) return cudaErrorInvalidValue;
    return check_path(path);
}

}  // namespace

int molparallax_ntxent_device(int ordinal) { return cudaSetDevice(ordinal); }

int molparallax_ntxent_scratch(const NtxentProblem *problem, int path, int pass, size_t *bytes) {
    if (!bytes || pass < NTXENT_ROW_SUMS || pass > NTXENT_BOTH_SUMS) return cudaErrorInvalidValue;
    if (int error = check(problem, path)) return error;
    return path == NTXENT_HOPPER ? hopper_scratch(problem, pass, bytes) : portable_scratch(problem, pass, bytes);
}

int molparallax_ntxent_sums(const NtxentProblem *problem, int path, float *row_sums, float *column_sums,
                            void *scratch, void *stream) {
    if (int error = check(problem, path)) return error;
    if (!has_operands(*problem) || !row_sums || !scratch) return cudaErrorInvalidValue;
    return path == NTXENT_HOPPER ? hopper_sums(problem, row_sums, column_sums, scratch, stream)
                                 : portable_sums(problem, row_sums, column_sums, scratch, stream);
}

int molparallax_ntxent_pull(const NtxentProblem *problem, int path, const float *row_weights,
                            const float *column_weights, float *out, void *scratch, void *stream) {
    if (int error = check(problem, path)) return error;
    if (!has_operands(*problem) || !row_weights || !column_weights || !out) return cudaErrorInvalidValue;
    return path == NTXENT_HOPPER ? hopper_pull(problem, row_weights, column_weights, out, scratch, stream)
                                 : portable_pull(problem, row_weights, column_weights, out, scratch, stream);
}

int molparallax_ntxent_path(void) {
    int device, major, minor;
    if (cudaGetDevice(&device)) return -1;
    if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device)) return -1;
    if (cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device)) return -1;
    if (major == 9 && minor == 0) return NTXENT_HOPPER;
    return major >= 8 ? NTXENT_PORTABLE : -1;
}

const char *molparallax_ntxent_error(int code) { return cudaGetErrorString(static_cast<cudaError_t>(code)); }

const char *molparallax_ntxent_sources(void) { return NTXENT_SOURCES; }
