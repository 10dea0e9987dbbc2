// The arc-cosine kernels of networks with biases, as K(s, a, b) with a = x.x and b = y.y.
//
// With biases K is no longer sqrt(a b) f(c): every layer mixes the norms in. So the recursion is written
// once, on numbers that carry their tangents: V for K, Tangent<V, 3> for its gradient by (s, a, b), and
// Tangent<Tangent<V, 3>, 1> for the change of that along a direction.
//
// In layer l let p^2 and r^2 be the shares that weights and biases have in a row's variance. Then the
// cosine is p_x p_y c + r_x r_y for the cosine c after the layer before, and its gap 1 - cosine is a sum of
// what does not cancel: p_x p_y (1 - c) + ((p_x - p_y)^2 + (r_x - r_y)^2) / 2. Where the rows are small
// beside the bias all of it is small, and the sign of c changes nothing: 1 - c is then 2 less the gap.
#pragma once

#include "gram.h"

namespace pydistill::gram {

template <class U, int K>
struct Tangent {
    U v, d[K];
};

template <class U, int K>
PD_FORMULA Tangent<U, K> operator+(Tangent<U, K> x, const Tangent<U, K>& y) {
    x.v = x.v + y.v;
    for (int k = 0; k < K; ++k) x.d[k] = x.d[k] + y.d[k];
    return x;
}
template <class U, int K>
PD_FORMULA Tangent<U, K> operator-(Tangent<U, K> x, const Tangent<U, K>& y) {
    x.v = x.v - y.v;
    for (int k = 0; k < K; ++k) x.d[k] = x.d[k] - y.d[k];
    return x;
}
template <class U, int K>
PD_FORMULA Tangent<U, K> operator*(const Tangent<U, K>& x, const Tangent<U, K>& y) {
    Tangent<U, K> result;
    result.v = x.v * y.v;
    for (int k = 0; k < K; ++k) result.d[k] = x.d[k] * y.v + x.v * y.d[k];
    return result;
}
template <class U, int K, class A>
PD_FORMULA Tangent<U, K> operator*(Tangent<U, K> x, A factor) {
    x.v = x.v * factor;
    for (int k = 0; k < K; ++k) x.d[k] = x.d[k] * factor;
    return x;
}
template <class U, int K, class A>
PD_FORMULA Tangent<U, K> operator+(Tangent<U, K> x, A term) {
    x.v = x.v + term;
    return x;
}
template <class A, class U, int K>
PD_FORMULA Tangent<U, K> operator-(A from, Tangent<U, K> x) {
    return x * A{-1} + from;
}

// f(x) from f and its derivative at x's value.
template <class U, int K>
PD_FORMULA Tangent<U, K> chain(const Tangent<U, K>& x, const U& value, const U& slope) {
    Tangent<U, K> result;
    result.v = value;
    for (int k = 0; k < K; ++k) result.d[k] = slope * x.d[k];
    return result;
}

// The functions that the recursion is made of, for numbers and for numbers with tangents.
template <class A, class Math>
struct Smooth {
    template <class V>
    PD_FORMULA static V value(V x) {
        return x;
    }
    template <class U, int K>
    PD_FORMULA static auto value(const Tangent<U, K>& x) {
        return value(x.v);
    }
    template <class V>
    PD_FORMULA static void set_value(V& x, V to) {
        x = to;
    }
    template <class U, int K, class V>
    PD_FORMULA static void set_value(Tangent<U, K>& x, V to) {
        set_value(x.v, to);
    }

    template <class Mask, class V>
    PD_FORMULA static V pick(Mask mask, V x, V y) {
        return mask ? x : y;
    }
    template <class Mask, class U, int K>
    PD_FORMULA static Tangent<U, K> pick(Mask mask, const Tangent<U, K>& x, const Tangent<U, K>& y) {
        Tangent<U, K> result;
        result.v = pick(mask, x.v, y.v);
        for (int k = 0; k < K; ++k) result.d[k] = pick(mask, x.d[k], y.d[k]);
        return result;
    }

    // 1 / x, and 0 with no slope where x is 0.
    template <class V>
    PD_FORMULA static V inverse(V x) {
        return x <= V{} ? V{} : A{1} / x;
    }
    template <class U, int K>
    PD_FORMULA static Tangent<U, K> inverse(const Tangent<U, K>& x) {
        const U result = inverse(x.v);
        return chain(x, result, result * result * A{-1});
    }

    // Square root, with no slope at 0.
    template <class V>
    PD_FORMULA static V root(V x) {
        return Math::root(x);
    }
    template <class U, int K>
    PD_FORMULA static Tangent<U, K> root(const Tangent<U, K>& x) {
        const U result = root(x.v);
        return chain(x, result, inverse(result) * A{0.5});
    }

    // Angle and sine from the gap; both 0 with no slope below `least`, where the angle is not resolved.
    template <class V>
    PD_FORMULA static V resolved(V gap, V least) {
        return gap < least ? V{} : gap;
    }
    template <class V>
    PD_FORMULA static V sine(V gap, V least) {
        const V g = resolved(gap, least);
        return Math::root(g * (A{2} - g));
    }
    template <class U, int K, class V>
    PD_FORMULA static Tangent<U, K> sine(const Tangent<U, K>& gap, V least) {
        const U result = sine(gap.v, least);
        return chain(gap, result, (A{1} - gap.v) * inverse(result));
    }
    template <class V>
    PD_FORMULA static V angle(V gap, V least) {
        return Math::angle_of_gap(resolved(gap, least));
    }
    template <class U, int K, class V>
    PD_FORMULA static Tangent<U, K> angle(const Tangent<U, K>& gap, V least) {
        return chain(gap, angle(gap.v, least), inverse(sine(gap.v, least)));
    }

    // sin - angle cos, whose slope by the gap is the angle. Small angles leave little of the difference.
    template <class V>
    PD_FORMULA static V bend(V gap, V least) {
        const V t = angle(gap, least), t2 = t * t;
        V series = V{} + A(1.0 / 518918400);
        series = A(1.0 / 3991680) - t2 * series;
        series = A(1.0 / 45360) - t2 * series;
        series = A(1.0 / 840) - t2 * series;
        series = A(1.0 / 30) - t2 * series;
        series = t * t2 * (A(1.0 / 3) - t2 * series);
        return t < A{0.5} ? series : sine(gap, least) - t * (A{1} - gap);
    }
    template <class U, int K, class V>
    PD_FORMULA static Tangent<U, K> bend(const Tangent<U, K>& gap, V least) {
        return chain(gap, bend(gap.v, least), angle(gap.v, least));
    }
};

// scale is the variance of the weights, offset that of the biases.
template <class A, class Math, bool Ntk>
struct Biased {
    static constexpr Family family = Family::angle;
    using M = Smooth<A, Math>;

    // What a layer's incoming values are, given the weights' part of their variances.
    template <class T>
    struct Layer {
        T deviation, alpha, beta, gamma;

        PD_FORMULA Layer(const T& x, const T& y, A bias) {
            const T deviation_x = M::root(x + bias), deviation_y = M::root(y + bias);
            const T inverse_x = M::inverse(deviation_x), inverse_y = M::inverse(deviation_y);
            const T px = M::root(x) * inverse_x, py = M::root(y) * inverse_y;
            deviation = deviation_x * deviation_y;
            alpha = px * py;
            beta = inverse_x * inverse_y * bias;
            // (r_x - r_y) / sqrt(bias); r is near 1 where the rows are small, p then tells them apart
            const T dp = px - py;
            const T dr = M::pick(M::value(alpha) < M::value(beta),
                                 dp * (px + py) * M::inverse(inverse_x + inverse_y) * (A{-1} / bias),
                                 inverse_x - inverse_y);
            gamma = dp * dp * A{0.5} + dr * dr * (A{0.5} * bias);
        }
    };

    template <class T, class V>
    PD_FORMULA static T evaluate(const Profile<A>& p, V base, const T& s, const T& a, const T& b) {
        const A bias = p.offset, half = A{0.5} * p.scale, pi_inverse = A(0.31830988618379067154);
        const T c = s * M::inverse(M::root(a)) * M::inverse(M::root(b));
        T gap = M::pick(base < V{}, c + A{1}, A{1} - c);
        M::set_value(gap, base < V{} ? -base : base);
        T x = a * (p.scale * p.per_feature), y = b * (p.scale * p.per_feature);
        Layer<T> layer(x, y, bias);
        // 1 + cosine, where the cosine before the biases is negative; they may have made it positive.
        const T above = layer.alpha * gap + layer.beta * A{2} + layer.gamma;
        const V negative = base < V{} ? (M::value(above) > A{1} ? V{} : V{} + A{1}) : V{};
        gap = M::pick(negative > V{}, above,
                      layer.alpha * M::pick(base < V{}, A{2} - gap, gap) + layer.gamma);
        // Below eight units of rounding the angle between the rows is none; what is left of it after the
        // biases is resolved as far.
        V least = M::value(layer.alpha) * (A{32} * kEpsilon<A> * kEpsilon<A>);
        T nngp{}, ntk = s * p.per_feature;
        for (int l = 0; l < p.degree; ++l) {
            const T bend = M::bend(gap, least) * pi_inverse, share = M::angle(gap, least) * pi_inverse;
            T k0 = A{1} - share, k1 = (A{1} - gap) + bend, next = gap - bend;
            if (l == 0) {
                k0 = M::pick(negative > V{}, share, k0);
                k1 = M::pick(negative > V{}, bend, k1);
                next = M::pick(negative > V{}, A{1} - bend, next);
            }
            nngp = layer.deviation * k1 * A{0.5};
            if constexpr (Ntk) ntk = nngp + k0 * (ntk * half + A{0.5} * bias);
            if (l + 1 == p.degree) break;
            x = (x + bias) * half, y = (y + bias) * half;
            layer = Layer<T>(x, y, bias);
            gap = layer.alpha * next + layer.gamma;
            least *= M::value(layer.alpha);
        }
        return Ntk ? ntk : nngp;
    }
};

}  // namespace pydistill::gram
