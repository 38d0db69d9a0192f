/* The functions of the kernel's hopper_wgmma.cuh as the PTX manual describes them; included instead of it. The layouts
 * that a descriptor stands for are written out here once more, from the manual, and not taken from hopper_plan.h.
 */
#define MOLPARALLAX_NTXENT_HOPPER_WGMMA_CUH
#pragma once

#include "tma.h"

namespace emulation {

inline float number_at(uint32_t address) {
    uint16_t bits;
    std::memcpy(&bits, own_block().memory + swizzled(address), 2);
    return as_float(bits);
}

/* Element (i, k) of an operand: i counts vectors, or, MN-major, the numbers of 16 vectors k. */
inline float element(uint64_t descriptor, bool transposed, int i, int k) {
    const uint32_t start = (descriptor & 0x3fff) << 4, leading = (descriptor >> 16 & 0x3fff) << 4;
    const uint32_t stride = (descriptor >> 32 & 0x3fff) << 4;
    if (transposed) return number_at(start + i / 64 * leading + k / 8 * stride + k % 8 * 128 + i % 64 * 2);
    return number_at(start + i / 8 * stride + i % 8 * 128 + k * 2);
}

inline float half_of(uint32_t word, int half) { return as_float(static_cast<uint16_t>(word >> 16 * half)); }

/* Rows of the warp, by all its lanes. */
inline void multiply(Thread *lanes, const Product &product) {
    const int first_row = static_cast<int>(lanes[0].index.x) / WARP % 4 * 16;
    float left[16][16];
    for (int i = 0; i < 16; ++i)
        for (int k = 0; k < 16; ++k)
            left[i][k] = product.left_in_registers
                             ? half_of(lanes[i % 8 * 4 + k % 8 / 2].products.front().registers[i / 8 + k / 8 * 2],
                                       k % 2)
                             : element(product.left, false, first_row + i, k);
    std::vector<float> right(product.nt * 8 * 16);
    for (int j = 0; j < product.nt * 8; ++j)
        for (int k = 0; k < 16; ++k) right[j * 16 + k] = element(product.right, product.right_transposed, j, k);
    for (int lane = 0; lane < WARP; ++lane) {
        const Product &mine = lanes[lane].products.front();
        std::vector<float> &sums = lanes[lane].sums[mine.c];
        if (mine.first) sums.assign(mine.nt * 4, 0.0f);
        for (int n = 0; n < mine.nt * 4; ++n) {
            const float *const row = left[lane / 4 + n / 2 % 2 * 8];
            const float *const column = &right[(n / 4 * 8 + lane % 4 * 2 + n % 2) * 16];
            for (int k = 0; k < 16; ++k) sums[n] += row[k] * column[k];
        }
    }
}

inline bool is_under_way(const Thread &thread, const float *c) {
    for (const Product &product : thread.products)
        if (product.c == c) return true;
    return false;
}

/* The warp's products but for those of the youngest groups. */
inline void finish_products(Thread *lanes, int groups_left) {
    while (!lanes[0].products.empty() && lanes[0].products.front().group < lanes[0].groups - groups_left) {
        for (int lane = 0; lane < WARP; ++lane) {
            require(!lanes[lane].products.empty(), "lanes of a warp ask for different products");
            require(lanes[lane].products.front().nt == lanes[0].products.front().nt, "products of different shapes");
        }
        if (!cluster.broken.empty()) return;
        multiply(lanes, lanes[0].products.front());
        for (int lane = 0; lane < WARP; ++lane) {
            Thread &thread = lanes[lane];
            const Product product = thread.products.front();
            thread.products.pop_front();
            if (is_under_way(thread, product.c)) continue;
            std::memcpy(product.c, thread.sums[product.c].data(), product.nt * 4 * sizeof(float));
            thread.sums.erase(product.c);
        }
    }
}

inline void ask_for(Product product) {
    product.group = running->groups;
    const bool under_way = is_under_way(*running, product.c);
    require(!(product.first && under_way), "an accumulator begins anew while it is under way");
    if (!product.first && !under_way) running->sums[product.c].assign(product.c, product.c + product.nt * 4);
    std::memset(product.c, 0xff, product.nt * 4 * sizeof(float));
    running->products.push_back(product);
}

}  // namespace emulation

namespace ntxent {
namespace hopper {

inline void begin_products() {}
inline void end_products() { ++emulation::running->groups; }

template <int GROUPS>
void wait_for_products() {
    emulation::Barrier &barrier = emulation::own_warp().barrier;
    emulation::Thread *const lanes = &emulation::cluster.threads[emulation::thread_in_cluster() / 32 * 32];
    if (barrier.arrived == emulation::WARP - 1) emulation::finish_products(lanes, GROUPS);
    emulation::meet(barrier, emulation::WARP);
}

template <int NT>
void hold(float (&)[1][NT][4]) {}

inline uint64_t descriptor(uint32_t address, int leading_offset, int group_offset) {
    return uint64_t{1} << 62 | static_cast<uint64_t>(group_offset >> 4) << 32 |
           static_cast<uint64_t>(leading_offset >> 4) << 16 | (address & 0x3ffff) >> 4;
}

template <int NT>
void first_dot_product(float (&c)[1][NT][4], uint64_t a, uint64_t b) {
    emulation::ask_for({c[0][0], NT, true, false, false, a, b, {}, 0});
}

template <int NT>
void add_dot_product(float (&c)[1][NT][4], uint64_t a, uint64_t b) {
    emulation::ask_for({c[0][0], NT, false, false, false, a, b, {}, 0});
}

template <int NT>
void add_product(float (&c)[1][NT][4], const uint32_t (&a)[4], uint64_t b) {
    emulation::ask_for({c[0][0], NT, false, true, true, 0, b, {a[0], a[1], a[2], a[3]}, 0});
}

template <int NT>
void add_product(float (&c)[1][NT][4], uint64_t a, uint64_t b) {
    emulation::ask_for({c[0][0], NT, false, true, false, a, b, {}, 0});
}

}  // namespace hopper
}  // namespace ntxent
