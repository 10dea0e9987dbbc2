// One entry of gram, whatever the kernel and the order of the derivative: what both backends call.
#pragma once

#include "gram_biased.h"

namespace pydistill::gram {

template <class A, class Math>
using Nngp = ArcCosine<A, Math, false>;
template <class A, class Math>
using Ntk = ArcCosine<A, Math, true>;
template <class A, class Math>
using BiasedNngp = Biased<A, Math, false>;
template <class A, class Math>
using BiasedNtk = Biased<A, Math, true>;

template <class Shape>
constexpr bool is_biased = requires(typename Shape::M m) { m; };
template <class Shape>
constexpr bool has_cusp = requires { Shape::cusp; };

// Order 0: `out` is K. Order 1: what the entry adds to the gradients, g being that of K. Order 2: `out` is
// the change of K along (hs, hx, hy) in (s, qx, qy), the rest that of the gradients.
template <int Order, class A, class Shape, class V>
PD_FORMULA Parts<V> entry_of(const Profile<A>& profile, V base, V s, const Side<V>& x, const Side<V>& y,
                             V g, V hs, V hx, V hy) {
    constexpr Family F = Shape::family;
    if constexpr (is_biased<Shape>) {
        const V none{}, one = none + A{1};
        const auto no_x = x.square < kLeast<A>, no_y = y.square < kLeast<A>;  // rows of zeros
        const V a = no_x ? none : x.square, b = no_y ? none : y.square;
        if constexpr (Order == 0) {
            return {Shape::evaluate(profile, base, s, a, b), none, none, none};
        } else {
            // Tangents are by s / |x||y|, log a and log b: those by s, a and b leave float's range.
            using First = Tangent<V, 3>;
            const V norm_x = no_x ? one : x.norm, norm_y = no_y ? one : y.norm;
            const V by_norms = A{1} / norm_x / norm_y, by_a = no_x ? one : A{1} / a,
                    by_b = no_y ? one : A{1} / b;
            const First s1{s, {norm_x * norm_y, none, none}}, x1{a, {none, no_x ? one : a, none}},
                y1{b, {none, none, no_y ? one : b}};
            First k;
            if constexpr (Order == 1) {
                k = Shape::evaluate(profile, base, s1, x1, y1);
            } else {
                using Second = Tangent<First, 1>;
                const Second s2{s1, {{hs, {}}}}, x2{x1, {{hx, {}}}}, y2{y1, {{hy, {}}}};
                k = Shape::evaluate(profile, base, s2, x2, y2).d[0];
            }
            return {k.v, g * (k.d[0] * by_norms), g * (k.d[1] * by_a), g * (k.d[2] * by_b)};
        }
    } else {
        Jet<V> jet = Shape::template jet<Order>(profile, base);
        if constexpr (Order == 0) {
            if constexpr (F == Family::angle) jet.f = jet.f * x.norm * y.norm;
            return {jet.f, V{}, V{}, V{}};
        } else {
            if constexpr (has_cusp<Shape>) settle<A>(jet, base, x, y);
            if constexpr (Order == 1)
                return first_parts<A, F>(g, base, jet, x, y);
            else
                return second_parts<A, F>(g, base, jet, x, y, hs, hx, hy);
        }
    }
}

}  // namespace pydistill::gram
