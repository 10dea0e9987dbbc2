// The formulas of gradient_distance, written once for both backends. V is a scalar or a vector of them.
//
// A segment of both gradients, x and y, with s = <x, y>, n = |x|, m = |y|, e = n m + eps:
//   cosine   1 - s / e
//   l2       sum of d^2,   d = x - y
//   l1       sum of |d|
// Under cosine the gradients are, times the cotangent g,
//   to x:  xx x + xy y      to y:  xy x + yy y
//   with   xy = -1 / e,  xx = s m / (e^2 n),  yy = s n / (e^2 m)    (0 where n or m is 0)
// and with cotangents u, v of those and p = <u, y> + <v, x>, q = <u, x>, r = <v, y>
//   to g:  P = xy p + xx q + yy r
//   to x:  g (xx u + xy v + P_s y + P_n x / n)      to y:  g (xy u + yy v + P_s x + P_m y / m)
// where P_s, P_n, P_m are P's derivatives in s, n, m with p, q, r kept.
#pragma once

#include "formula.h"

namespace pydistill::gradient_distance {

enum class Kind { cosine, l2, l1 };

// What a kernel works on; all tensors of dtype A, float or double.
struct Job {
    bool doubles;
    Kind kind;
    int64_t batch, length, segments;  // B, P, S
    double eps;
    const void *x, *y;       // (B, P)
    const void *u, *v;       // (B, P): cotangents of the gradients, or null
    const void* grad;        // (B, S), or null
    const int64_t* offsets;  // (S + 1,): where segments begin and the last one ends
    void* value;             // (B, S): distances, or the gradient to `grad`; null where not wanted
    void *to_x, *to_y;       // (B, P), null where not wanted
};

// One segment of one comparison; cotangents and gradients may be absent. Where offsets could not be looked
// at on the host and do not lie inside, it is empty and nothing is touched.
template <class A>
struct Segment {
    const A *x, *y, *u, *v;
    A *to_x, *to_y;
    int64_t size;
    double g;

    PD_FORMULA Segment(const Job& job, int64_t item) {
        const int64_t segment = item % job.segments;
        const int64_t first = job.offsets[segment], last = job.offsets[segment + 1];
        const bool inside = first >= 0 && first < last && last <= job.length;
        size = inside ? last - first : 0;
        const int64_t at = item / job.segments * job.length + (inside ? first : 0);
        x = static_cast<const A*>(job.x) + at, y = static_cast<const A*>(job.y) + at;
        u = job.u ? static_cast<const A*>(job.u) + at : nullptr;
        v = job.v ? static_cast<const A*>(job.v) + at : nullptr;
        to_x = job.to_x ? static_cast<A*>(job.to_x) + at : nullptr;
        to_y = job.to_y ? static_cast<A*>(job.to_y) + at : nullptr;
        g = job.grad ? static_cast<double>(static_cast<const A*>(job.grad)[item]) : 1;
    }
};

// Sums over a segment. What is made of them is made in double: products of norms leave float's range.
template <class A>
struct Sums {
    A xy{}, xx{}, yy{};  // of x and y with each other and themselves
    A p{}, q{}, r{};     // with their cotangents
};

// Factors that gradients are made with, and what goes to `value`.
struct Factors {
    double value = 0;
    double xu = 0, xv = 0, xx = 0, xy = 0;  // to x: of u, v, x, y
    double yu = 0, yv = 0, yx = 0, yy = 0;  // to y
};

PD_FORMULA double root(double square) {
#if defined(__CUDACC__)
    return sqrt(square);
#else
    return __builtin_sqrt(square);
#endif
}

struct Cosine {
    double s, p, q, r, n, m, e, by_n, by_m;

    template <class A>
    PD_FORMULA Cosine(const Sums<A>& sums, double eps) : s(sums.xy), p(sums.p), q(sums.q), r(sums.r) {
        n = root(static_cast<double>(sums.xx));
        m = root(static_cast<double>(sums.yy));
        e = n * m + eps;
        by_n = n > 0 ? 1 / n : 0;
        by_m = m > 0 ? 1 / m : 0;
    }
    PD_FORMULA double xy() const { return -1 / e; }
    PD_FORMULA double xx() const { return s * m * by_n / (e * e); }
    PD_FORMULA double yy() const { return s * n * by_m / (e * e); }

    PD_FORMULA Factors first(double g) const {
        Factors f;
        f.value = 1 - s / e;
        f.xx = g * xx(), f.xy = f.yx = g * xy(), f.yy = g * yy();
        return f;
    }
    PD_FORMULA Factors second(double g) const {
        const double square = e * e, cube = square * e;
        const double left = m * by_n, right = n * by_m;  // m / n and n / m
        const double in_s = (left * q + right * r) / square;
        const double in_n = p * m / square - s * left * q * (2 * m / cube + by_n / square) +
                            s * by_m * r * (1 / square - 2 * n * m / cube);
        const double in_m = p * n / square - s * right * r * (2 * n / cube + by_m / square) +
                            s * by_n * q * (1 / square - 2 * n * m / cube);
        Factors f;
        f.value = xy() * p + xx() * q + yy() * r;
        f.xu = g * xx(), f.xv = f.yu = g * xy(), f.yv = g * yy();
        f.xx = g * in_n * by_n, f.xy = f.yx = g * in_s, f.yy = g * in_m * by_m;
        return f;
    }
};

// Of a difference d = x - y: what it adds to the distance, and that one's derivatives.
template <Kind kind>
struct Difference {
    template <class V>
    PD_FORMULA static V value(V d) {
        if constexpr (kind == Kind::l2) return d * d;
        return d > V{} ? d : -d;
    }
    template <class V>
    PD_FORMULA static V slope(V d, V one) {
        if constexpr (kind == Kind::l2) return d + d;
        return d > V{} ? one : d < V{} ? -one : d;  // 0 at 0, not-a-number where d is
    }
};

}  // namespace pydistill::gradient_distance
