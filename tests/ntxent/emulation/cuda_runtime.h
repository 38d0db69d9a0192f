/* What the portable path's sources need of CUDA, for g++: words of the language, and a device that does not exist. */
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__
#define __align__(bytes) __attribute__((aligned(bytes)))
#define threadIdx (emulation::running->index)
#define blockIdx (emulation::block)
#define blockDim (emulation::block_size)

using std::min;

struct float2 {
    float x, y;
};
inline float2 make_float2(float x, float y) { return {x, y}; }

template <class T>
T __ldg(const T *from) {
    return *from;
}

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorInvalidDevice = 101,
    cudaErrorLaunchFailure = 719,
};
enum cudaDeviceAttr {
    cudaDevAttrMultiProcessorCount,
    cudaDevAttrMaxSharedMemoryPerBlockOptin,
    cudaDevAttrComputeCapabilityMajor,
    cudaDevAttrComputeCapabilityMinor,
};

namespace emulation {

struct Index {
    unsigned x;
};
struct Device {
    int multiprocessors = 4, shared_bytes = 163 * 1024, major = 8, minor = 0;
};
extern Device device;
extern Index block, block_size;

struct Thread;
extern Thread *running;

}  // namespace emulation

inline cudaError_t cudaGetDevice(int *ordinal) {
    *ordinal = 0;
    return cudaSuccess;
}

inline cudaError_t cudaSetDevice(int ordinal) { return ordinal ? cudaErrorInvalidDevice : cudaSuccess; }

inline cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int) {
    const emulation::Device &device = emulation::device;
    *value = attribute == cudaDevAttrMultiProcessorCount            ? device.multiprocessors
             : attribute == cudaDevAttrMaxSharedMemoryPerBlockOptin ? device.shared_bytes
             : attribute == cudaDevAttrComputeCapabilityMajor       ? device.major
                                                                    : device.minor;
    return cudaSuccess;
}

inline const char *cudaGetErrorString(cudaError_t error) { return error ? "an emulated error" : "no error"; }
