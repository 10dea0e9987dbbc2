// Elementary functions of the vectors of vec.h, in float and double, for the kernel parts (see isa.h).
// The errors beside them are the largest found at any level, over a dense sample of all arguments.
#pragma once

#include "vec.h"

namespace pydistill::cpu::PD_ISA {
namespace {

// Type and number of a vector's lanes, and the integers of the same width.
template <class T>
struct bare {
    using type = T;
};
template <class T>
struct bare<T&> {
    using type = T;
};
template <class V>
using lane_t = typename bare<decltype(V{}[0])>::type;
template <class V>
constexpr int lanes_of = static_cast<int>(sizeof(V) / sizeof(lane_t<V>));
template <class T>
struct whole {
    using type = int32_t;
};
template <>
struct whole<double> {
    using type = int64_t;
};
template <class V>
using whole_t = vec<typename whole<lane_t<V>>::type, lanes_of<V>>;

// Whether any lane of a mask is set.
template <class I>
PD_INLINE bool any(I mask) {
    lane_t<I> found = 0;
    for (int l = 0; l < lanes_of<I>; ++l) found |= mask[l];
    return found != 0;
}

// c[0] + c[1] x + ... , coefficients in ascending order.
template <class V, int N>
PD_INLINE V polynomial(V x, const lane_t<V> (&c)[N]) {
    V sum = V{} + c[N - 1];
    for (int k = N - 2; k >= 0; --k) sum = sum * x + c[k];
    return sum;
}

// Square root, correctly rounded: gcc and clang make one instruction of this loop.
template <class V>
PD_INLINE V root(V x) {
    V result;
    for (int l = 0; l < lanes_of<V>; ++l) {
        if constexpr (sizeof(lane_t<V>) == 4)
            result[l] = __builtin_sqrtf(x[l]);
        else
            result[l] = __builtin_sqrt(x[l]);
    }
    return result;
}

template <class V>
PD_INLINE V magnitude(V x) {
    return x < V{} ? -x : x;
}

// e^x; subnormal results are rounded as they should be, overflow is infinity, not-a-numbers stay.
// x = n log 2 + r; the power of two is applied in two halves, since 2^n itself may be out of range.
// Errors: below 1.2 units in the last place, 0.9 with fused multiply-adds.
template <class V>
PD_INLINE V exponential(V x) {
    using I = whole_t<V>;
    if constexpr (sizeof(lane_t<V>) == 4) {
        constexpr float kShift = 12582912.0f;  // 1.5 2^23: adding it leaves a whole number in the low bits
        constexpr float kTaylor[] = {1.0f,          1.0f,        4.9999994e-1f, 1.6666521e-1f,
                                     4.1668348e-2f, 8.36871e-3f, 1.3816757e-3f};
        x = x < -105.0f ? V{} - 105.0f : x;
        x = x > 89.0f ? V{} + 89.0f : x;
        const V shifted = x * 1.44269504f + kShift;
        const V n = shifted - kShift;
        const V r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
        const I whole = reinterpret_cast<I>(shifted) - reinterpret_cast<I>(V{} + kShift);
        const I half = whole >> 1;
        const V first = reinterpret_cast<V>((half + 127) << 23);
        const V second = reinterpret_cast<V>((whole - half + 127) << 23);
        return polynomial(r, kTaylor) * first * second;
    } else {
        constexpr double kShift = 6755399441055744.0;  // 1.5 2^52
        constexpr double kTaylor[] = {1.0,
                                      1.0,
                                      1.0 / 2,
                                      1.0 / 6,
                                      1.0 / 24,
                                      1.0 / 120,
                                      1.0 / 720,
                                      1.0 / 5040,
                                      1.0 / 40320,
                                      1.0 / 362880,
                                      1.0 / 3628800,
                                      1.0 / 39916800,
                                      1.0 / 479001600,
                                      1.0 / 6227020800};
        x = x < -746.0 ? V{} - 746.0 : x;
        x = x > 710.0 ? V{} + 710.0 : x;
        const V shifted = x * 1.4426950408889634 + kShift;
        const V n = shifted - kShift;
        // log 2 in two parts; the first has 32 trailing zeros, so that n times it is exact
        const V r = (x - n * 0x1.62e42fee00000p-1) - n * 0x1.a39ef35793c76p-33;
        const I whole = reinterpret_cast<I>(shifted) - reinterpret_cast<I>(V{} + kShift);
        const I half = whole >> 1;
        const V first = reinterpret_cast<V>((half + 1023) << 52);
        const V second = reinterpret_cast<V>((whole - half + 1023) << 52);
        return polynomial(r, kTaylor) * first * second;
    }
}

// (arcsin(sqrt z) / sqrt z - 1) / z on [0, 1/4].
template <class V>
PD_INLINE V arcsine_tail(V z) {
    if constexpr (sizeof(lane_t<V>) == 4) {
        constexpr float kTail[] = {1.666666e-1f,  7.500494e-2f,  4.4518374e-2f,
                                   3.1798325e-2f, 1.4467799e-2f, 3.748186e-2f};
        return polynomial(z, kTail);
    } else {
        constexpr double kTail[] = {0.16666666666666738,  0.07499999999975146,  0.04464285717125242,
                                    0.0303819428442373,   0.022372211638417593, 0.017351665493297166,
                                    0.013980241976169712, 0.011403235086255443, 0.010757915156621797,
                                    0.003784811907682932, 0.02152900420203554,  -0.020761504277635453,
                                    0.03248818346883898};
        return polynomial(z, kTail);
    }
}

// The angle whose cosine is 1 - u, for u in [0, 1]: with no loss of digits where u is small, since u and
// not the cosine is given. Errors: below 1.5 units in the last place, above the subnormal numbers.
template <class V>
PD_INLINE V angle_of_gap(V u) {
    // Cosines above 1/2: 2 arcsin(sqrt(u/2)). Below: pi/2 - arcsin(c).
    const auto near = u < lane_t<V>(0.5);
    const V c = lane_t<V>(1) - u;
    const V z = near ? u * lane_t<V>(0.5) : c * c;
    const V s = near ? root(z) : c;
    const V arcsine = s + s * (z * arcsine_tail(z));
    return near ? arcsine + arcsine : lane_t<V>(1.5707963267948966) - arcsine;
}

// arccos c for c in [-1, 1]. Errors: below 1.5 units in the last place.
template <class V>
PD_INLINE V arccosine(V c) {
    const V angle = angle_of_gap(lane_t<V>(1) - magnitude(c));
    return c < V{} ? lane_t<V>(3.141592653589793) - angle : angle;
}

}  // namespace
}  // namespace pydistill::cpu::PD_ISA
