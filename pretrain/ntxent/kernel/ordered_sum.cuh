// Partial results -> their sum, in order.
#pragma once

#include "launch.cuh"
#include "plan.h"

namespace ntxent {

// sums (length) of partials (parts, length)
static __global__ void add_in_order(const float *partials, int parts, int64_t length, float *sums) {
    const int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (at >= length) return;
    float sum = 0;
#pragma unroll 8
    for (int part = 0; part < parts; ++part) sum += partials[part * length + at];
    sums[at] = sum;
}

inline cudaError_t launch_add_in_order(const float *partials, int parts, int64_t length, float *sums, void *stream) {
    return launch(add_in_order, pieces(length, 256), 256, 0, stream, partials, parts, length, sums);
}

}  // namespace ntxent
