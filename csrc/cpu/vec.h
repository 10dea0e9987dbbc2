// Short vectors for the kernel parts (see isa.h): GCC and clang vector types, lowered to whatever the
// instruction set has. Storage types: float, double and bf16 (two bytes, kept as bits); sums are kept in
// float or double.
#pragma once

#include <stdint.h>

#define PD_INLINE inline __attribute__((always_inline))

namespace pydistill::cpu::PD_ISA {

struct bf16 {
    uint16_t bits;
};

template <class S>
struct storage {
    using accumulate = S;
    using raw = S;
};
template <>
struct storage<bf16> {
    using accumulate = float;
    using raw = uint16_t;
};
template <class S>
using acc_t = typename storage<S>::accumulate;

template <class T, int L>
struct vector {
    typedef T type __attribute__((vector_size(sizeof(T) * L)));
    typedef T unaligned __attribute__((vector_size(sizeof(T) * L), aligned(alignof(T)), may_alias));
};
template <class T, int L>
using vec = typename vector<T, L>::type;

// Lanes of a full register for storage type S.
template <class S>
constexpr int lanes = PD_VECTOR_BYTES / static_cast<int>(sizeof(acc_t<S>));

template <class T, int L>
PD_INLINE vec<T, L> load_raw(const T* p) {
    return *reinterpret_cast<const typename vector<T, L>::unaligned*>(p);
}
template <class T, int L>
PD_INLINE void store_raw(T* p, vec<T, L> value) {
    *reinterpret_cast<typename vector<T, L>::unaligned*>(p) = value;
}

template <class S, int L>
PD_INLINE vec<acc_t<S>, L> load(const S* p) {
    if constexpr (sizeof(S) == 2) {
        const auto bits = load_raw<uint16_t, L>(reinterpret_cast<const uint16_t*>(p));
        return reinterpret_cast<vec<float, L>>(__builtin_convertvector(bits, vec<uint32_t, L>) << 16);
    } else {
        return load_raw<S, L>(p);
    }
}

template <class S, int L>
PD_INLINE void store(S* p, vec<acc_t<S>, L> value) {
    if constexpr (sizeof(S) == 2) {  // round to nearest, ties to even; keep not-a-numbers quiet
        const auto bits = reinterpret_cast<vec<uint32_t, L>>(value);
        const auto rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
        const auto quiet = (bits >> 16) | 0x40;
        const auto chosen = value == value ? rounded : quiet;
        store_raw<uint16_t, L>(reinterpret_cast<uint16_t*>(p),
                               __builtin_convertvector(chosen, vec<uint16_t, L>));
    } else {
        store_raw<S, L>(p, value);
    }
}

template <class T, int L>
PD_INLINE vec<T, L> broadcast(T value) {
    return vec<T, L>{} + value;
}

// Sum of the lanes, always in the same order.
template <class T, int L>
PD_INLINE T total(vec<T, L> v) {
    if constexpr (L == 1) {
        return v[0];
    } else if constexpr (L == 2) {
        return v[0] + v[1];
    } else if constexpr (L == 4) {
        return total<T, 2>(__builtin_shufflevector(v, v, 0, 1) + __builtin_shufflevector(v, v, 2, 3));
    } else if constexpr (L == 8) {
        return total<T, 4>(__builtin_shufflevector(v, v, 0, 1, 2, 3) +
                           __builtin_shufflevector(v, v, 4, 5, 6, 7));
    } else {
        static_assert(L == 16);
        return total<T, 8>(__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                           __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15));
    }
}

// Sums of neighbours: (l0+l1, l2+l3, ..., h0+h1, ...) from two vectors.
template <class T, int L>
PD_INLINE vec<T, L> pair_sums(vec<T, L> low, vec<T, L> high) {
    if constexpr (L == 1) {
        return low + high;
    } else if constexpr (L == 2) {
        return __builtin_shufflevector(low, high, 0, 2) + __builtin_shufflevector(low, high, 1, 3);
    } else if constexpr (L == 4) {
        return __builtin_shufflevector(low, high, 0, 2, 4, 6) +
               __builtin_shufflevector(low, high, 1, 3, 5, 7);
    } else if constexpr (L == 8) {
        return __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14) +
               __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15);
    } else {
        static_assert(L == 16);
        return __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28,
                                       30) +
               __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29,
                                       31);
    }
}

// Every lane twice: the first and the second half of (v0, v0, v1, v1, ...).
template <class T, int L>
PD_INLINE void twice(vec<T, L> v, vec<T, L>& low, vec<T, L>& high) {
    if constexpr (L == 1) {
        low = high = v;
    } else if constexpr (L == 2) {
        low = __builtin_shufflevector(v, v, 0, 0);
        high = __builtin_shufflevector(v, v, 1, 1);
    } else if constexpr (L == 4) {
        low = __builtin_shufflevector(v, v, 0, 0, 1, 1);
        high = __builtin_shufflevector(v, v, 2, 2, 3, 3);
    } else if constexpr (L == 8) {
        low = __builtin_shufflevector(v, v, 0, 0, 1, 1, 2, 2, 3, 3);
        high = __builtin_shufflevector(v, v, 4, 4, 5, 5, 6, 6, 7, 7);
    } else {
        static_assert(L == 16);
        low = __builtin_shufflevector(v, v, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
        high = __builtin_shufflevector(v, v, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15);
    }
}

// Calls f.template operator()<L>(i) over [0, n): full registers first, then ever shorter ones.
template <int L, class F>
PD_INLINE void over(int64_t i, int64_t n, const F& f) {
    for (; i + L <= n; i += L) f.template operator()<L>(i);
    if constexpr (L > 1) {
        if (i < n) over<L / 2>(i, n, f);
    }
}

}  // namespace pydistill::cpu::PD_ISA
