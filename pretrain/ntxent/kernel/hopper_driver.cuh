// What the host asks of the driver for the Hopper path. In a file of its own, so that a test can answer instead.
#ifndef MOLPARALLAX_NTXENT_HOPPER_DRIVER_CUH
#define MOLPARALLAX_NTXENT_HOPPER_DRIVER_CUH

#include <cuda.h>
#include <cuda_runtime.h>

#include "hopper_plan.h"

namespace ntxent {
namespace hopper {

// Asked for at run time: the library does not link with the driver, and loads without one.
inline decltype(&cuTensorMapEncodeTiled) tensor_map_encoder() {
    void *function = nullptr;
    cudaDriverEntryPointQueryResult found;
    if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found))
        return nullptr;
    if (found != cudaDriverEntryPointSuccess) return nullptr;
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
}

// (count, d) bfloat16, in boxes of one panel of so many vectors.
inline cudaError_t map_vectors(CUtensorMap *map, const void *vectors, int64_t count, int64_t d, int box) {
    const auto encode = tensor_map_encoder();
    if (!encode) return cudaErrorCallRequiresNewerDriver;
    const cuuint64_t sizes[] = {static_cast<cuuint64_t>(d), static_cast<cuuint64_t>(count)};
    const cuuint64_t line_bytes[] = {static_cast<cuuint64_t>(d * 2)};
    const cuuint32_t boxes[] = {PANEL, static_cast<cuuint32_t>(box)}, steps[] = {1, 1};
    const CUresult result =
        encode(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<void *>(vectors), sizes, line_bytes, boxes, steps,
               CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
               CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return result ? cudaErrorInvalidValue : cudaSuccess;
}

// (count) float32, in boxes of so many.
inline cudaError_t map_line(CUtensorMap *map, const float *numbers, int64_t count, int box) {
    const auto encode = tensor_map_encoder();
    if (!encode) return cudaErrorCallRequiresNewerDriver;
    const cuuint64_t sizes[] = {static_cast<cuuint64_t>(count)}, none[] = {0};
    const cuuint32_t boxes[] = {static_cast<cuuint32_t>(box)}, steps[] = {1};
    const CUresult result = encode(map, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 1, const_cast<float *>(numbers), sizes, none,
                                   boxes, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_NONE,
                                   CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return result ? cudaErrorInvalidValue : cudaSuccess;
}

// Clusters that run at the same time, which is what one launch is made of.
template <class... Parameters>
cudaError_t count_clusters(void (*kernel)(Parameters...), int bytes, int *clusters) {
    cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error) return error;
    cudaLaunchAttribute shape;
    shape.id = cudaLaunchAttributeClusterDimension;
    shape.val.clusterDim.x = CLUSTER, shape.val.clusterDim.y = 1, shape.val.clusterDim.z = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = CLUSTER;
    config.blockDim = THREADS;
    config.dynamicSmemBytes = static_cast<size_t>(bytes);
    config.attrs = &shape;
    config.numAttrs = 1;
    error = cudaOccupancyMaxActiveClusters(clusters, kernel, &config);
    return !error && *clusters < 1 ? cudaErrorInvalidConfiguration : error;
}

}  // namespace hopper
}  // namespace ntxent
#endif
