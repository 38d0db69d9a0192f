// The Hopper path of paths.h: plans, tensor maps and launches.
#include <algorithm>
#include <type_traits>

#include "hopper_driver.cuh"
#include "hopper_pull_wide.cuh"
#include "hopper_sums.cuh"
#include "launch.cuh"
#include "ordered_sum.cuh"
#include "paths.h"

namespace ntxent {
namespace hopper {
namespace {

template <class Use>
cudaError_t with_width(int64_t d, Use use) {
    if (d == 64) return use(std::integral_constant<int, 64>{});
    if (d == 128) return use(std::integral_constant<int, 128>{});
    if (d == 256) return use(std::integral_constant<int, 256>{});
    return use(std::integral_constant<int, 512>{});
}

template <int D>
cudaError_t plan_of_sums(const NtxentProblem &p, bool triangle, bool both, SumsPlan *plan, int *clusters) {
    const cudaError_t error = count_clusters(cluster_sums<D>, SumsShape<D>::BYTES, clusters);
    if (!error) *plan = plan_pairs(p.m, p.k, triangle, both, *clusters);
    return error;
}

template <int D>
using ConsumerOfPull = std::conditional_t<PullShape<D>::SHARED_ROWS, PullingWide, Pulling<D>>;

template <int D>
cudaError_t plan_of_pull(const NtxentProblem &p, PullPlan *plan, int *clusters) {
    using Shape = PullShape<D>;
    const cudaError_t error = count_clusters(cluster_pull<ConsumerOfPull<D>>, Shape::BYTES, clusters);
    if (!error) *plan = plan_pull(p.m, p.k, p.d, CLUSTER * Shape::ROWS, Shape::COLUMNS, *clusters);
    return error;
}

// Clusters that have something to do, in blocks.
int64_t blocks_for(int64_t items, int clusters) { return std::min<int64_t>(items, clusters) * CLUSTER; }

template <int D>
cudaError_t sums(const NtxentProblem &p, float *row_sums, float *column_sums, float *scratch, void *stream) {
    using Shape = SumsShape<D>;
    const bool both = column_sums != nullptr, triangle = is_triangle(&p, column_sums);
    SumsPlan plan;
    int clusters;
    CUtensorMap rows, columns;
    cudaError_t error = plan_of_sums<D>(p, triangle, both, &plan, &clusters);
    if (!error) error = map_vectors(&rows, p.rows, p.m, p.d, Shape::ROWS);
    if (!error) error = map_vectors(&columns, p.columns, p.k, p.d, Shape::COLUMNS / CLUSTER);
    if (error) return error;

    float *const column_partials = triangle ? scratch : scratch + plan.columns * p.m;
    error = launch(cluster_sums<D>, blocks_for(pairs_in(plan), clusters), THREADS, Shape::BYTES, stream, rows, columns,
                   operands_of(p), plan, scratch, column_partials);
    if (!error) error = launch_add_in_order(scratch, plan.columns, p.m, row_sums, stream);
    if (!error && both) error = launch_add_in_order(column_partials, plan.rows, p.k, column_sums, stream);
    return error;
}

template <int D>
cudaError_t pull(const NtxentProblem &p, const float *row_weights, const float *column_weights, float *out,
                 float *scratch, void *stream) {
    using Shape = PullShape<D>;
    PullPlan plan;
    int clusters;
    CUtensorMap rows, columns, weights;
    cudaError_t error = plan_of_pull<D>(p, &plan, &clusters);
    if (!error) error = map_vectors(&rows, p.rows, p.m, p.d, Shape::ROWS);
    if (!error) error = map_vectors(&columns, p.columns, p.k, p.d, Shape::COLUMNS / CLUSTER);
    if (!error) error = map_line(&weights, column_weights, p.k, Shape::COLUMNS);
    if (error) return error;

    float *const to = plan.splits == 1 ? out : scratch;
    const int64_t items = int64_t{plan.row_blocks} * plan.splits;
    error = launch(cluster_pull<ConsumerOfPull<D>>, blocks_for(items, clusters), THREADS, Shape::BYTES, stream, rows,
                   columns, weights, operands_of(p), plan, row_weights, to);
    if (error || plan.splits == 1) return error;
    return launch_add_in_order(to, plan.splits, p.m * p.d, out, stream);
}

}  // namespace
}  // namespace hopper
}  // namespace ntxent

using namespace ntxent;

int hopper_scratch(const NtxentProblem *p, int pass, size_t *bytes) {
    return hopper::with_width(p->d, [&](auto width) {
        constexpr int D = decltype(width)::value;
        int clusters;
        if (pass == NTXENT_PULL) {
            PullPlan plan;
            const cudaError_t error = hopper::plan_of_pull<D>(*p, &plan, &clusters);
            if (!error) *bytes = scratch_of_pull(plan, p->m, p->d);
            return error;
        }
        const bool both = pass == NTXENT_BOTH_SUMS;
        SumsPlan plan;
        const cudaError_t error =
            hopper::plan_of_sums<D>(*p, !both && is_triangle(p, nullptr), both, &plan, &clusters);
        if (!error) *bytes = scratch_of_sums(plan, p->m, p->k);
        return error;
    });
}

int hopper_sums(const NtxentProblem *p, float *row_sums, float *column_sums, void *scratch, void *stream) {
    return hopper::with_width(p->d, [&](auto width) {
        return hopper::sums<decltype(width)::value>(*p, row_sums, column_sums, static_cast<float *>(scratch), stream);
    });
}

int hopper_pull(const NtxentProblem *p, const float *row_weights, const float *column_weights, float *out,
                void *scratch, void *stream) {
    return hopper::with_width(p->d, [&](auto width) {
        return hopper::pull<decltype(width)::value>(*p, row_weights, column_weights, out,
                                                    static_cast<float *>(scratch), stream);
    });
}
