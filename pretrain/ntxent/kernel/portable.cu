// The portable path of paths.h: plans, launches and the ordered sums of partial results.
#include "launch.cuh"
#include "ordered_sum.cuh"
#include "paths.h"
#include "portable_pull.cuh"
#include "portable_sums.cuh"

namespace ntxent {
namespace {

struct Device {
    int multiprocessors, shared_bytes;
};

cudaError_t current_device(Device *device) {
    int ordinal;
    cudaError_t error = cudaGetDevice(&ordinal);
    if (!error) error = cudaDeviceGetAttribute(&device->multiprocessors, cudaDevAttrMultiProcessorCount, ordinal);
    if (!error)
        error = cudaDeviceGetAttribute(&device->shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, ordinal);
    return error;
}

template <int D>
cudaError_t launch_sums(const NtxentProblem &problem, const SumsPlan &plan, float *row_partials,
                        float *column_partials, void *stream) {
    return launch(sums_kernel<D>, blocks_of_sums(plan), Sums<D>::THREADS, Sums<D>::BYTES, stream, operands_of(problem),
                  plan, row_partials, column_partials);
}

// Calls `use` with the shape of a block that fits the width and the device.
template <class Use>
cudaError_t with_pull_shape(int64_t d, const Device &device, Use use) {
    const auto fits = [&](auto shape) { return decltype(shape)::BYTES <= device.shared_bytes; };
    if (d == 64) return use(Pull<64, 128, 64>{});
    if (d == 128) return use(Pull<128, 128, 64>{});
    if (d == 256) return fits(Pull<256, 128, 64>{}) ? use(Pull<256, 128, 64>{}) : use(Pull<256, 64, 32>{});
    return fits(Pull<512, 64, 32>{}) ? use(Pull<512, 64, 32>{}) : use(Pull<512, 64, 16>{});
}

template <class Shape>
PullPlan plan_for(Shape, const NtxentProblem &p, const Device &device) {
    return plan_pull(p.m, p.k, p.d, Shape::ROWS, Shape::COLUMNS, device.multiprocessors);
}

}  // namespace
}  // namespace ntxent

using namespace ntxent;

int portable_scratch(const NtxentProblem *p, int pass, size_t *bytes) {
    Device device;
    if (cudaError_t error = current_device(&device)) return error;
    if (pass == NTXENT_PULL)
        return with_pull_shape(p->d, device, [&](auto shape) {
            *bytes = scratch_of_pull(plan_for(shape, *p, device), p->m, p->d);
            return cudaSuccess;
        });
    const bool both = pass == NTXENT_BOTH_SUMS;
    const bool triangle = !both && is_triangle(p, nullptr);
    *bytes = scratch_of_sums(plan_sums(p->m, p->k, triangle, both, device.multiprocessors), p->m, p->k);
    return cudaSuccess;
}

int portable_sums(const NtxentProblem *p, float *row_sums, float *column_sums, void *scratch, void *stream) {
    Device device;
    if (cudaError_t error = current_device(&device)) return error;
    const bool both = column_sums != nullptr, triangle = is_triangle(p, column_sums);
    const SumsPlan plan = plan_sums(p->m, p->k, triangle, both, device.multiprocessors);
    float *const row_partials = static_cast<float *>(scratch);
    float *const column_partials = triangle ? row_partials : row_partials + plan.columns * p->m;

    auto *const launch_width = p->d == 64    ? launch_sums<64>
                               : p->d == 128 ? launch_sums<128>
                               : p->d == 256 ? launch_sums<256>
                                             : launch_sums<512>;
    if (cudaError_t error = launch_width(*p, plan, row_partials, column_partials, stream)) return error;
    if (cudaError_t error = launch_add_in_order(row_partials, plan.columns, p->m, row_sums, stream)) return error;
    return both ? launch_add_in_order(column_partials, plan.rows, p->k, column_sums, stream) : cudaSuccess;
}

int portable_pull(const NtxentProblem *p, const float *row_weights, const float *column_weights, float *out,
                  void *scratch, void *stream) {
    Device device;
    if (cudaError_t error = current_device(&device)) return error;
    return with_pull_shape(p->d, device, [&](auto shape) {
        using Shape = decltype(shape);
        const PullPlan plan = plan_for(shape, *p, device);
        float *const to = plan.splits == 1 ? out : static_cast<float *>(scratch);
        const int64_t blocks = int64_t{plan.row_blocks} * plan.splits;
        cudaError_t error = launch(pull_kernel<Shape>, blocks, Shape::THREADS, Shape::BYTES, stream, operands_of(*p),
                                   plan, row_weights, column_weights, to);
        if (error || plan.splits == 1) return error;
        return launch_add_in_order(to, plan.splits, p->m * p->d, out, stream);
    });
}
