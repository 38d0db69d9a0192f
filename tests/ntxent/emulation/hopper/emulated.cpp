/* The Hopper path, its sources as they are, as a library for a machine without a GPU. Device memory is the host's. */
#define MOLPARALLAX_NTXENT_LAUNCH_CUH
#define MOLPARALLAX_NTXENT_HOPPER_DRIVER_CUH

#include "wgmma.h"

#define gridDim (emulation::grid)

namespace emulation {

Device device;
Index block, block_size, grid;
Thread *running;
Cluster cluster;
std::function<void()> kernel_of_thread;
int clusters = 1;

/* A kernel whose threads know nothing of each other. */
inline void run_alone(int64_t blocks, int threads) {
    Thread *const before = running;
    running = &cluster.threads[0];
    for (block.x = 0; block.x < blocks; ++block.x)
        for (running->index.x = 0; running->index.x < static_cast<unsigned>(threads); ++running->index.x)
            kernel_of_thread();
    running = before;
}

}  // namespace emulation

namespace ntxent {

template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), int64_t blocks, int threads, int bytes, void *,
                   Arguments... arguments) {
    emulation::kernel_of_thread = [=] { kernel(arguments...); };
    emulation::block_size.x = threads;
    emulation::grid.x = static_cast<unsigned>(blocks);
    if (threads != emulation::BLOCK_THREADS) {
        emulation::run_alone(blocks, threads);
        return cudaSuccess;
    }
    if (bytes > emulation::LARGEST_SHARED || blocks % emulation::BLOCKS) return cudaErrorInvalidValue;
    emulation::cluster.broken.clear();
    for (int first = 0; first < blocks; first += emulation::BLOCKS) {
        emulation::start_threads(first);
        emulation::require(emulation::run_threads(first), "threads wait for each other for ever");
        for (const emulation::Block &each : emulation::cluster.blocks)
            for (const emulation::Barrier &barrier : each.named)
                emulation::require(!barrier.arrived, "somebody is still waited for at a barrier");
        if (emulation::cluster.broken.empty()) continue;
        std::fprintf(stderr, "emulation: %s\n", emulation::cluster.broken.c_str());
        return cudaErrorLaunchFailure;
    }
    return cudaSuccess;
}

}  // namespace ntxent

#include "hopper_plan.h"

namespace ntxent {
namespace hopper {

inline cudaError_t map_vectors(CUtensorMap *map, const void *vectors, int64_t count, int64_t d, int box) {
    *map = {static_cast<const unsigned char *>(vectors), count, static_cast<int>(d * 2), box, PANEL * 2, true};
    return box <= 256 ? cudaSuccess : cudaErrorInvalidValue;
}

inline cudaError_t map_line(CUtensorMap *map, const float *numbers, int64_t count, int box) {
    *map = {reinterpret_cast<const unsigned char *>(numbers), 1, static_cast<int>(count * 4), 1, box * 4, false};
    return box <= 256 ? cudaSuccess : cudaErrorInvalidValue;
}

template <class... Parameters>
cudaError_t count_clusters(void (*)(Parameters...), int bytes, int *clusters) {
    *clusters = emulation::clusters;
    return bytes <= emulation::LARGEST_SHARED ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace hopper
}  // namespace ntxent

#include "hopper.cu"
#include "library.cu"

int portable_scratch(const NtxentProblem *, int, size_t *) { return cudaErrorInvalidDevice; }
int portable_sums(const NtxentProblem *, float *, float *, void *, void *) { return cudaErrorInvalidDevice; }
int portable_pull(const NtxentProblem *, const float *, const float *, float *, void *, void *) {
    return cudaErrorInvalidDevice;
}

extern "C" {

/* A device that runs so many clusters at a time, and the order of their warps. */
void emulation_cluster(int clusters, unsigned seed) {
    emulation::device.major = 9;
    emulation::device.minor = 0;
    emulation::clusters = clusters;
    emulation::cluster.order.seed(seed);
}

/* visits (rows, columns) counts how often each super-tile is somebody's, of those that the plan has. */
void emulation_walk(int rows, int columns, bool triangle, int clusters, int *visits) {
    const ntxent::SumsPlan plan{0, rows, columns, triangle, false};
    for (int cluster = 0; cluster < clusters; ++cluster)
        for (ntxent::hopper::PairWalk walk(plan, cluster); !walk.done(plan); walk.advance(plan, clusters))
            for (int row = walk.row; row < walk.row + ntxent::hopper::CLUSTER && row < rows; ++row)
                ++visits[row * columns + walk.column];
}

int64_t emulation_pairs(int rows, int columns, bool triangle) {
    return ntxent::hopper::pairs_in({0, rows, columns, triangle, false});
}
}
