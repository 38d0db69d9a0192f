/* bfloat16 for g++: bits, and rounding to the nearest even. */
#pragma once

#include "cuda_runtime.h"

struct __nv_bfloat16 {
    uint16_t bits;
};
struct __nv_bfloat162 {
    __nv_bfloat16 x, y;
};

inline float as_float(uint16_t bits) {
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float number;
    std::memcpy(&number, &wide, 4);
    return number;
}

inline __nv_bfloat16 as_bfloat16(float number) {
    uint32_t bits;
    std::memcpy(&bits, &number, 4);
    if (std::isnan(number)) return {0x7fff};
    return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {as_bfloat16(x), as_bfloat16(y)}; }
