// Formulas of gram, for one entry of a kernel matrix or a vector of neighbours.
//
// A kernel is a profile f of one quantity, the base, that a product s = x.y and the squared norms a = x.x
// and b = y.y determine:
//
//   dot       base = s;                        K = f(s)
//   distance  base = d2 = a + b - 2 s;         K = f(d2)
//   angle     base = c = s / sqrt(a b);        K = sqrt(a b) f(c)
//
// so that f, f', f'' are all that a new kernel needs. Profiles (sums over the bandwidths w):
//
//   polynomial  (scale s + offset)^degree
//   rbf  exp(-d2 / 2 w^2)      laplacian  exp(-d / w)      inverse multiquadric  (1 + d2 / w^2)^(-1/2)
//   arc-cosine (Cho and Saul 2009), with c_0 = c, t_0 = c and for every hidden layer
//       k0(c) = 1 - acos(c) / pi,   c_(l+1) = k1(c_l) = (sqrt(1 - c_l^2) + (pi - acos c_l) c_l) / pi,
//       t_(l+1) = c_(l+1) + k0(c_l) t_l:      nngp is scale c_L, ntk (Jacot et al. 2018) scale t_L.
//       With biases they are no profile of the angle: gram_biased.h.
//
// k1' = k0 is finite. k0' = 1 / (pi sin) is not at c = +-1, where the kernel has a cusp as |x - y| has:
// there the derivative taken is the mean of the one-sided ones, which is what leaving the term out gives.
//
// The angle is carried as the gap 1 - |c|, not as c: a gap near 0 keeps its digits, a c near 1 does not.
#pragma once

#include "formula.h"

namespace pydistill::gram {

enum class Kind : int {
    polynomial,
    rbf,
    laplacian,
    inverse_multiquadric,
    nngp,
    ntk,
    biased_nngp,
    biased_ntk
};
constexpr int kKinds = 8;
enum class Family { dot, distance, angle };

constexpr int kMostBandwidths = 64;

// Arguments of a kernel. All matrices are dense, (B, N, M), but for grad, which may repeat itself.
struct Job {
    bool wide;  // float64
    Kind kind;
    int degree;  // or the number of hidden layers
    int count;   // of bandwidths
    double scale, offset, bandwidths[kMostBandwidths];
    int64_t batch, rows, columns, features;
    int64_t grad_batch, grad_row, grad_column;  // strides of grad; the last is 0 or 1
    const void *s, *x, *y, *qx, *qy;            // products; rows (B, N|M, D); squared norms (B, N|M)
    const void *grad, *hs, *hx, *hy;            // gradient of K; gradients of the gradients of s, qx, qy
    void *out, *grad_s, *row_parts, *column_parts;  // out: K, or the gradient of grad
};

// What a kernel's profile needs, in the type that it is computed in.
template <class A>
struct Profile {
    int degree, count;
    A scale, offset, per_feature, rates[kMostBandwidths];

    explicit PD_FORMULA Profile(const Job& job)
        : degree(job.degree),
          count(job.count),
          scale(static_cast<A>(job.scale)),
          offset(static_cast<A>(job.offset)),
          per_feature(A{1} / static_cast<A>(job.features > 0 ? job.features : 1)) {
        constexpr double kMost = sizeof(A) == 4 ? 0x1p126 : 0x1p1022;  // finite, so that 0 times it is 0
        for (int i = 0; i < count; ++i) {
            const double inverse = 1 / job.bandwidths[i];
            const double rate = job.kind == Kind::rbf         ? 0.5 * inverse * inverse
                                : job.kind == Kind::laplacian ? inverse
                                                              : inverse * inverse;
            rates[i] = static_cast<A>(rate < kMost ? rate : kMost);
        }
    }
};

// f, f' and f'' / unit at one base; those above the order asked for are not set. In the narrowest kernels
// f'' leaves float's range where its product with a change of the base does not.
template <class V>
struct Jet {
    V f, f1, f2, unit;
};

template <class A>
constexpr A kEpsilon = sizeof(A) == 4 ? A(0x1p-23) : A(0x1p-52);

// The least normal number: squares below it count as 0, they have lost their digits.
template <class A>
constexpr A kLeast = sizeof(A) == 4 ? A(0x1p-126) : A(0x1p-1022);

// Bases below this share of what they are a difference of are computed again from x and y themselves.
template <class A>
constexpr A kGuard = sizeof(A) == 4 ? A(0x1p-7) : A(0x1p-14);

// Math offers exp, root and angle_of_gap (the angle whose cosine is 1 - u) for V.
template <class A, class Math>
struct Polynomial {
    static constexpr Family family = Family::dot;

    template <int Order, class V>
    PD_FORMULA static Jet<V> jet(const Profile<A>& p, V s) {
        const V base = s * p.scale + p.offset;
        const A n = static_cast<A>(p.degree);
        Jet<V> j;
        if constexpr (Order == 0) {
            j.f = power(base, p.degree);
        } else if constexpr (Order == 1) {
            j.f1 = power(base, p.degree - 1) * (n * p.scale);
        } else {
            const V rest = p.degree > 1 ? power(base, p.degree - 2) : V{};
            j.f1 = p.degree > 1 ? rest * base * (n * p.scale) : V{} + p.scale;
            j.f2 = rest * (n * (n - 1) * p.scale * p.scale);
        }
        return j;
    }

  private:
    template <class V>
    PD_FORMULA static V power(V base, int exponent) {
        V result = V{} + A{1};
        for (; exponent > 0; exponent >>= 1, base *= base)
            if (exponent & 1) result *= base;
        return result;
    }
};

template <class A, class Math>
struct Rbf {
    static constexpr Family family = Family::distance;

    template <int Order, class V>
    PD_FORMULA static Jet<V> jet(const Profile<A>& p, V d2) {
        Jet<V> j{};
        for (int i = 0; i < p.count; ++i) {
            const V e = Math::exp(d2 * -p.rates[i]);
            if constexpr (Order == 0) j.f += e;
            if constexpr (Order >= 1) j.f1 -= e * p.rates[i];
            if constexpr (Order >= 2) j.f2 += e * (p.rates[i] * p.rates[i]);
        }
        j.unit = V{} + A{1};
        return j;
    }
};

// Where d = 0 its derivatives are left out: the mean over directions.
template <class A, class Math>
struct Laplacian {
    static constexpr Family family = Family::distance;
    static constexpr bool cusp = true;

    template <int Order, class V>
    PD_FORMULA static Jet<V> jet(const Profile<A>& p, V d2) {
        Jet<V> j{};
        const V d = Math::root(d2);
        const V inverse = d2 >= kLeast<A> ? A{1} / d : V{};
        for (int i = 0; i < p.count; ++i) {
            const V e = Math::exp(d * -p.rates[i]);
            if constexpr (Order == 0) j.f += e;
            const V first = e * inverse * (A{0.5} * p.rates[i]);
            if constexpr (Order >= 1) j.f1 -= first;
            if constexpr (Order >= 2) j.f2 += first * (p.rates[i] + inverse) * A{0.5};
        }
        j.unit = inverse;
        return j;
    }
};

template <class A, class Math>
struct InverseMultiquadric {
    static constexpr Family family = Family::distance;

    template <int Order, class V>
    PD_FORMULA static Jet<V> jet(const Profile<A>& p, V d2) {
        Jet<V> j{};
        for (int i = 0; i < p.count; ++i) {
            const V r2 = A{1} / (d2 * p.rates[i] + A{1}), r = Math::root(r2);
            if constexpr (Order == 0) j.f += r;
            const V first = r * r2 * (A{0.5} * p.rates[i]);
            if constexpr (Order >= 1) j.f1 -= first;
            if constexpr (Order >= 2) j.f2 += first * r2 * (A{1.5} * p.rates[i]);
        }
        j.unit = V{} + A{1};
        return j;
    }
};

template <class A, class Math, bool Tangent>
struct ArcCosine {
    static constexpr Family family = Family::angle;
    static constexpr A kInversePi = A(0.31830988618379067154);

    // Cosine, its derivatives by c_0, and the same of t.
    template <class V>
    struct State {
        V gap, c, c1, c2, t, t1, t2;
    };

    template <int Order, class V>
    PD_FORMULA static Jet<V> jet(const Profile<A>& p, V base) {
        // Below eight units of rounding an angle is none: its direction is not resolved.
        const V gap = base < V{} ? -base : base, one = V{} + A{1};
        State<V> a;
        a.gap = gap < A{32} * kEpsilon<A> * kEpsilon<A> ? V{} : gap;
        a.c = base < V{} ? a.gap - one : one - a.gap;
        a.t = a.c;
        a.c1 = a.t1 = one, a.c2 = a.t2 = V{};
        layer<Order, true>(a, base);
        for (int l = 1; l < p.degree; ++l) layer<Order, false>(a, base);
        Jet<V> j;
        j.f = (Tangent ? a.t : a.c) * p.scale;
        if constexpr (Order >= 1) j.f1 = (Tangent ? a.t1 : a.c1) * p.scale;
        if constexpr (Order >= 2) j.f2 = (Tangent ? a.t2 : a.c2) * p.scale;
        return j;
    }

  private:
    // One hidden layer. Only the first one can meet a negative cosine.
    template <int Order, bool Signed, class V>
    PD_FORMULA static void layer(State<V>& a, V base) {
        const V angle = Math::angle_of_gap(a.gap), share = angle * kInversePi;
        const V cosine = A{1} - a.gap, sine2 = a.gap * (A{2} - a.gap), sine = Math::root(sine2);
        const V bend = (sine - angle * cosine) * kInversePi;  // k1(c) - max(c, 0)
        V k0 = A{1} - share, k1 = cosine + bend, gap = a.gap - bend;
        if constexpr (Signed) {
            k0 = base < V{} ? share : k0;
            k1 = base < V{} ? bend : k1;
            gap = base < V{} ? A{1} - bend : gap;
        }
        if constexpr (Order >= 1) {
            const V slope = sine > V{} ? kInversePi / sine : V{};  // k0'
            if constexpr (Order >= 2) {
                const V turn = sine > V{} ? slope * a.c / sine2 : V{};  // k0''
                const V c2 = slope * a.c1 * a.c1 + k0 * a.c2;
                if constexpr (Tangent)
                    a.t2 = c2 + k0 * a.t2 + A{2} * slope * a.c1 * a.t1 +
                           (turn * a.c1 * a.c1 + slope * a.c2) * a.t;
                a.c2 = c2;
            }
            if constexpr (Tangent) a.t1 = k0 * a.c1 + k0 * a.t1 + slope * a.c1 * a.t;
            a.c1 = k0 * a.c1;
        }
        if constexpr (Tangent) a.t = k1 + k0 * a.t;
        a.c = k1;
        a.gap = gap < V{} ? V{} : gap;
    }
};

// A row's squared norm, its norm, and the norm's inverse, 0 for a row of zeros.
template <class V>
struct Side {
    V square, norm, inverse;
};

template <class A, class Math, class V>
PD_FORMULA Side<V> side_of(V square) {
    const V norm = Math::root(square);
    return {square, norm, square >= kLeast<A> ? A{1} / norm : V{} * norm};
}

// How an angle is kept: its gap, with the sign of c. A gap of 0 is a smallest step below 0 where c is -1.
template <class A, class V>
PD_FORMULA V signed_gap(V gap, V c) {
    return c < V{} ? -(gap + kLeast<A>) : gap;
}

// The base that s gives.
template <class A, Family F, class V>
PD_FORMULA V base_of(V s, const Side<V>& x, const Side<V>& y) {
    if constexpr (F == Family::dot) {
        return s;
    } else if constexpr (F == Family::distance) {
        const V d2 = (x.square + y.square) - A{2} * s;
        return d2 < V{} ? V{} : d2;
    } else {
        const V c = s * x.inverse * y.inverse;
        const V gap = A{1} - (c < V{} ? -c : c);
        return signed_gap<A>(gap < V{} ? V{} : gap, c);
    }
}

// Whether too little of a difference is left, so that the base is to be computed from the rows.
template <class A, Family F, class V>
PD_FORMULA auto is_doubtful(V base, const Side<V>& x, const Side<V>& y) {
    if constexpr (F == Family::distance)
        return base < (x.square + y.square) * kGuard<A>;
    else
        return (base < V{} ? -base : base) < V{} + kGuard<A>;
}

// The part of one feature in a base computed from the rows: base = sum for distances, sum / 2 for gaps.
template <class A, Family F, class V>
PD_FORMULA V difference_of(V x, V y, A x_inverse, A y_inverse, bool negative) {
    if constexpr (F == Family::distance) return x - y;
    const V scaled = y * y_inverse;
    return x * x_inverse + (negative ? scaled : -scaled);
}

// What one entry adds to the gradients: of s; of qx and qy, up to factors that are constant in a row or
// column.
template <class V>
struct Parts {
    V out, s, row, column;
};

// At the cusp of a kernel of a distance rows nearer than eight units of rounding of their norms count as
// equal where a derivative is taken: the products that the gradients are summed up in do not resolve the
// direction from one to the other. Kernels without a cusp keep their curvature there.
template <class A, class V>
PD_FORMULA void settle(Jet<V>& j, V base, const Side<V>& x, const Side<V>& y) {
    const auto same = base < (x.square + y.square) * (A{64} * kEpsilon<A> * kEpsilon<A>);
    j.f1 = same ? V{} : j.f1;
    j.f2 = same ? V{} : j.f2;
}

template <class A, class V>
PD_FORMULA V cosine_of(V base) {
    return base < V{} ? -A{1} - base : A{1} - base;
}

template <class A, Family F, class V>
PD_FORMULA Parts<V> first_parts(V g, V base, const Jet<V>& j, const Side<V>& x, const Side<V>& y) {
    if constexpr (F == Family::dot) {
        return {V{}, g * j.f1, V{}, V{}};
    } else if constexpr (F == Family::distance) {
        const V e = g * j.f1;
        return {V{}, A{-2} * e, e, e};
    } else {
        const V m = g * (j.f - cosine_of<A>(base) * j.f1) * A{0.5};
        return {V{}, g * j.f1, m * y.norm * x.inverse, m * x.norm * y.inverse};
    }
}

// Along the direction (hs, hx, hy) in (s, qx, qy): `out` is the change of K, the rest that of its gradient.
template <class A, Family F, class V>
PD_FORMULA Parts<V> second_parts(V g, V base, const Jet<V>& j, const Side<V>& x, const Side<V>& y, V hs,
                                 V hx, V hy) {
    if constexpr (F == Family::dot) {
        return {j.f1 * hs, g * j.f2 * hs, V{}, V{}};
    } else if constexpr (F == Family::distance) {
        const V h = (hx + hy) - A{2} * hs, e = g * (j.f2 * h * j.unit);
        return {j.f1 * h, A{-2} * e, e, e};
    } else {
        const V c = cosine_of<A>(base);
        const V lx = A{0.5} * hx * x.inverse * x.inverse, ly = A{0.5} * hy * y.inverse * y.inverse;
        const V hc =
            hs * x.inverse * y.inverse - c * (lx + ly);  // change of c; lx + ly that of log sqrt(ab)
        const V m = j.f - c * j.f1, turn = c * j.f2 * hc, half = A{0.5} * g;
        return {j.f1 * hs + x.norm * y.norm * m * (lx + ly), g * j.f2 * hc,
                half * (m * (ly - lx) - turn) * y.norm * x.inverse,
                half * (m * (lx - ly) - turn) * x.norm * y.inverse};
    }
}

}  // namespace pydistill::gram
