// A kernel's launch, as one call. In a file of its own, so that a test can run the blocks on the host instead.
#ifndef MOLPARALLAX_NTXENT_LAUNCH_CUH
#define MOLPARALLAX_NTXENT_LAUNCH_CUH

#include <cuda_runtime.h>

namespace ntxent {

template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), int64_t blocks, int threads, int bytes, void *stream,
                   Arguments... arguments) {
    cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error) return error;
    kernel<<<static_cast<unsigned>(blocks), threads, bytes, static_cast<cudaStream_t>(stream)>>>(arguments...);
    return cudaGetLastError();
}

}  // namespace ntxent
#endif
