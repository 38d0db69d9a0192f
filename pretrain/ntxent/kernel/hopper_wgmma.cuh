// wgmma, the tensor-core instructions of sm_90a, one function for each shape that is used, and their descriptors.
//
// Like hopper_tma.cuh, nothing else is in this file. The four warps of a warpgroup compute 64 rows together. Warp w has
// rows 16 w to 16 w + 15; in them the fragments c[0][j] are those of ptx.cuh, column j * 8 onwards. So is a fragment of
// the left operand: c[0][2 s] and c[0][2 s + 1], rounded, are its 16 columns from 16 s on.
//
// The products are asynchronous. Between the first of a group and the wait for the group nobody may touch their
// registers: hold() keeps the compiler from moving other uses of them across it.
#ifndef MOLPARALLAX_NTXENT_HOPPER_WGMMA_CUH
#define MOLPARALLAX_NTXENT_HOPPER_WGMMA_CUH

#include <stdint.h>

namespace ntxent {
namespace hopper {

// Ordinary uses of registers come before the products that follow.
__device__ __forceinline__ void begin_products() { asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory"); }

// The products since the last call form a group.
__device__ __forceinline__ void end_products() { asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory"); }

// Until no more than so many of the youngest groups are under way.
template <int GROUPS>
__device__ __forceinline__ void wait_for_products() {
    asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(GROUPS) : "memory");
}

template <int NT>
__device__ __forceinline__ void hold(float (&c)[1][NT][4]) {
#pragma unroll
    for (int j = 0; j < NT; ++j)
#pragma unroll
        for (int x = 0; x < 4; ++x) asm volatile("" : "+f"(c[0][j][x])::"memory");
}

// An operand in shared memory with the 128-byte swizzle (1 in the two highest bits); offsets in bytes, as in
// hopper_plan.h. All three fields count 16 bytes.
__device__ __forceinline__ uint64_t descriptor(uint32_t address, int leading_offset, int group_offset) {
    return uint64_t{1} << 62 | static_cast<uint64_t>(group_offset >> 4) << 32 |
           static_cast<uint64_t>(leading_offset >> 4) << 16 | (address & 0x3ffff) >> 4;
}

// The registers of 8 NT columns, as operands of the assembler and as places of c.
#define R0 "%0,%1,%2,%3,%4,%5,%6,%7"
#define R1 "%8,%9,%10,%11,%12,%13,%14,%15"
#define R2 "%16,%17,%18,%19,%20,%21,%22,%23"
#define R3 "%24,%25,%26,%27,%28,%29,%30,%31"
#define R4 "%32,%33,%34,%35,%36,%37,%38,%39"
#define R5 "%40,%41,%42,%43,%44,%45,%46,%47"
#define R6 "%48,%49,%50,%51,%52,%53,%54,%55"
#define R7 "%56,%57,%58,%59,%60,%61,%62,%63"
#define R8 "%64,%65,%66,%67,%68,%69,%70,%71"
#define R9 "%72,%73,%74,%75,%76,%77,%78,%79"
#define R10 "%80,%81,%82,%83,%84,%85,%86,%87"
#define R11 "%88,%89,%90,%91,%92,%93,%94,%95"
#define R12 "%96,%97,%98,%99,%100,%101,%102,%103"
#define R13 "%104,%105,%106,%107,%108,%109,%110,%111"
#define R14 "%112,%113,%114,%115,%116,%117,%118,%119"
#define R15 "%120,%121,%122,%123,%124,%125,%126,%127"
#define N32 R0 "," R1
#define N64 N32 "," R2 "," R3
#define N96 N64 "," R4 "," R5
#define N128 N96 "," R6 "," R7
#define N256 N128 "," R8 "," R9 "," R10 "," R11 "," R12 "," R13 "," R14 "," R15
#define C1(USE, j) USE(c[0][j][0]), USE(c[0][j][1]), USE(c[0][j][2]), USE(c[0][j][3])
#define C4(USE, j) C1(USE, j), C1(USE, j + 1), C1(USE, j + 2), C1(USE, j + 3)
#define C8(USE, j) C4(USE, j), C4(USE, j + 4)
#define C16(USE, j) C8(USE, j), C8(USE, j + 8)

// Operands are numbered after those of c; ADD is the number of one that is 0 or 1, FLAGS say which are transposed.
#define WGMMA(SHAPE, REGISTERS, OPERANDS, ADD, FLAGS, ...)                                            \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " ADD ", 0;\n"                                     \
                 "wgmma.mma_async.sync.aligned." SHAPE "k16.f32.bf16.bf16 {" REGISTERS "}, " OPERANDS \
                 ", p, 1, 1, " FLAGS ";\n}\n"                                                         \
                 : __VA_ARGS__)

// c (64, 8 NT) = a b^T, then c += a b^T: 16 numbers of 64 vectors and of 8 NT vectors, both K-major in shared memory.
__device__ __forceinline__ void first_dot_product(float (&c)[1][4][4], uint64_t a, uint64_t b) {
    WGMMA("m64n32", N32, "%16, %17", "%18", "0, 0", C4("=f", 0) : "l"(a), "l"(b), "n"(0));
}

__device__ __forceinline__ void add_dot_product(float (&c)[1][4][4], uint64_t a, uint64_t b) {
    WGMMA("m64n32", N32, "%16, %17", "%18", "0, 0", C4("+f", 0) : "l"(a), "l"(b), "n"(1));
}

__device__ __forceinline__ void first_dot_product(float (&c)[1][12][4], uint64_t a, uint64_t b) {
    WGMMA("m64n96", N96, "%48, %49", "%50", "0, 0", C8("=f", 0), C4("=f", 8) : "l"(a), "l"(b), "n"(0));
}

__device__ __forceinline__ void add_dot_product(float (&c)[1][12][4], uint64_t a, uint64_t b) {
    WGMMA("m64n96", N96, "%48, %49", "%50", "0, 0", C8("+f", 0), C4("+f", 8) : "l"(a), "l"(b), "n"(1));
}

__device__ __forceinline__ void first_dot_product(float (&c)[1][16][4], uint64_t a, uint64_t b) {
    WGMMA("m64n128", N128, "%64, %65", "%66", "0, 0", C16("=f", 0) : "l"(a), "l"(b), "n"(0));
}

__device__ __forceinline__ void add_dot_product(float (&c)[1][16][4], uint64_t a, uint64_t b) {
    WGMMA("m64n128", N128, "%64, %65", "%66", "0, 0", C16("+f", 0) : "l"(a), "l"(b), "n"(1));
}

// c (64, 8 NT) += a b: 64 rows of 16 weights, and as many vectors' 8 NT numbers, MN-major in shared memory.
__device__ __forceinline__ void add_product(float (&c)[1][8][4], const uint32_t (&a)[4], uint64_t b) {
    WGMMA("m64n64", N64, "{%32, %33, %34, %35}, %36", "%37", "1", C8("+f", 0)
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(1));
}

__device__ __forceinline__ void add_product(float (&c)[1][16][4], const uint32_t (&a)[4], uint64_t b) {
    WGMMA("m64n128", N128, "{%64, %65, %66, %67}, %68", "%69", "1", C16("+f", 0)
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(1));
}

__device__ __forceinline__ void add_product(float (&c)[1][32][4], const uint32_t (&a)[4], uint64_t b) {
    WGMMA("m64n256", N256, "{%128, %129, %130, %131}, %132", "%133", "1", C16("+f", 0), C16("+f", 16)
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(1));
}

__device__ __forceinline__ void add_product(float (&c)[1][32][4], uint64_t a, uint64_t b) {
    WGMMA("m64n256", N256, "%128, %129", "%130", "0, 1", C16("+f", 0), C16("+f", 16) : "l"(a), "l"(b), "n"(1));
}

#undef WGMMA
#undef C16
#undef C8
#undef C4
#undef C1
#undef N256
#undef N128
#undef N96
#undef N64
#undef N32
#undef R0
#undef R1
#undef R2
#undef R3
#undef R4
#undef R5
#undef R6
#undef R7
#undef R8
#undef R9
#undef R10
#undef R11
#undef R12
#undef R13
#undef R14
#undef R15

}  // namespace hopper
}  // namespace ntxent
#endif
