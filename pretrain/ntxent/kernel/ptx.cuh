// The PTX instructions that the portable path stands on, one function each. sm_80 and later.
//
// Fragments are those of mma.m16n8k16 in the PTX manual: lane l holds rows l / 4 and l / 4 + 8, columns 2 (l % 4) and
// the next. Nothing else is in this file, so that a test can put its own meaning of them in place.
#ifndef MOLPARALLAX_NTXENT_PTX_CUH
#define MOLPARALLAX_NTXENT_PTX_CUH

#include <cuda_bf16.h>
#include <stdint.h>

namespace ntxent {

// Shared memory is addressed by 32-bit numbers.
__device__ __forceinline__ uint32_t shared_address(const void *pointer) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Until this thread's copies have arrived; those of others need a __syncthreads after it.
__device__ __forceinline__ void wait_for_copies() { asm volatile("cp.async.wait_all;\n" ::: "memory"); }

// 16 bytes, past the L1 cache; zeros where nothing is present, and then `from` may lie anywhere.
__device__ __forceinline__ void copy_chunk(uint32_t to, const __nv_bfloat16 *from, bool present) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(from), "r"(present ? 16 : 0)
                 : "memory");
}

// Eight lines of 16 bytes for each register: lane l gives the address of line l % 8 of register l / 8.
__device__ __forceinline__ void load_fragments(uint32_t (&f)[4], uint32_t from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(f[0]), "=r"(f[1]), "=r"(f[2]), "=r"(f[3])
                 : "r"(from)
                 : "memory");
}

__device__ __forceinline__ void load_fragments(uint32_t (&f)[2], uint32_t from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];\n"
                 : "=r"(f[0]), "=r"(f[1])
                 : "r"(from)
                 : "memory");
}

__device__ __forceinline__ void load_transposed(uint32_t (&f)[4], uint32_t from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(f[0]), "=r"(f[1]), "=r"(f[2]), "=r"(f[3])
                 : "r"(from)
                 : "memory");
}

// c (16, 8) += a (16, 16) b (16, 8)
__device__ __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// 2^x, to two units in the last place; subnormal results are zero
__device__ __forceinline__ float exp2_fast(float x) {
    float e;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(e) : "f"(x));
    return e;
}

// Loaded each time it is asked for, from the L1 cache as a rule: the compiler must not keep it in registers.
__device__ __forceinline__ int64_t load_again(const int64_t *from) {
    int64_t value;
    asm volatile("ld.global.nc.b64 %0, [%1];" : "=l"(value) : "l"(from));
    return value;
}

// The two warps 2 pair and 2 pair + 1 wait for each other. Barrier 0 is that of __syncthreads.
__device__ __forceinline__ void synchronise_pair(int pair) {
    asm volatile("bar.sync %0, 64;\n" ::"r"(pair + 1) : "memory");
}

}  // namespace ntxent
#endif
