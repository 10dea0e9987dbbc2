// Products of small matrices, the sums kept in registers. Kernel part (see isa.h).
#pragma once

#include "vec.h"

namespace pydistill::cpu::PD_ISA {
namespace {

// A product's accumulators, kHigh rows of two vectors, fill the registers.
template <class A>
constexpr int kWide = 2 * lanes<A>;
constexpr int kHigh = PD_VECTOR_BYTES == 64 ? 12 : 6;

PD_INLINE int64_t round_up(int64_t size, int64_t step) { return (size + step - 1) / step * step; }
PD_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

template <class A>
struct Sums {
    vec<A, lanes<A>> at[kHigh][2];
};

// sums[i] += a[i row + k step] b[k line], over `length` of k.
template <class A>
PD_INLINE void multiply(const A* a, int64_t row, int64_t step, const A* b, int64_t line, int64_t length,
                        Sums<A>& sums) {
    constexpr int L = lanes<A>;
    for (int64_t k = 0; k < length; ++k, a += step, b += line) {
        const auto low = load<A, L>(b), high = load<A, L>(b + L);
#pragma GCC unroll 12
        for (int i = 0; i < kHigh; ++i) {
            const A value = a[i * row];
            sums.at[i][0] += low * value;
            sums.at[i][1] += high * value;
        }
    }
}

template <class A>
PD_INLINE void take(Sums<A>& sums, const A* from, int64_t stride) {
    constexpr int L = lanes<A>;
#pragma GCC unroll 12
    for (int i = 0; i < kHigh; ++i) {
        sums.at[i][0] = load<A, L>(from + i * stride);
        sums.at[i][1] = load<A, L>(from + i * stride + L);
    }
}
template <class A>
PD_INLINE void put(const Sums<A>& sums, A* to, int64_t stride) {
    constexpr int L = lanes<A>;
#pragma GCC unroll 12
    for (int i = 0; i < kHigh; ++i) {
        store<A, L>(to + i * stride, sums.at[i][0]);
        store<A, L>(to + i * stride + L, sums.at[i][1]);
    }
}

template <class A>
PD_INLINE void add(const Sums<A>& sums, A* to, int64_t stride) {
    constexpr int L = lanes<A>;
#pragma GCC unroll 12
    for (int i = 0; i < kHigh; ++i) {
        store<A, L>(to + i * stride, load<A, L>(to + i * stride) + sums.at[i][0]);
        store<A, L>(to + i * stride + L, load<A, L>(to + i * stride + L) + sums.at[i][1]);
    }
}

}  // namespace
}  // namespace pydistill::cpu::PD_ISA
