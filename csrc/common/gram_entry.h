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

// Order 0: `out` is K. Order 1: what the entry adds to the gradients, g being that of K. Order 2: `out` is
// the change of K along (hs, hx, hy) in (s, qx, qy), the rest that of the gradients.
template <int Order, class A, class Shape, class V>
PD_FORMULA Parts<V> entry_of(const Profile<A>& profile, V base, V s, const Side<V>& x, const Side<V>& y,
                             V g, V hs, V hx, V hy) {
    constexpr Family F = Shape::family;
    if constexpr (is_biased<Shape>) {
        const V one = V{} + A{1};
        if constexpr (Order == 0) {
            return {Shape::evaluate(profile, base, s, x.square, y.square), V{}, V{}, V{}};
        } else {
            using First = Tangent<V, 3>;
            const First s1{s, {one, V{}, V{}}}, x1{x.square, {V{}, one, V{}}},
                y1{y.square, {V{}, V{}, one}};
            if constexpr (Order == 1) {
                const First k = Shape::evaluate(profile, base, s1, x1, y1);
                return {k.v, g * k.d[0], g * k.d[1], g * k.d[2]};
            } else {
                using Second = Tangent<First, 1>;
                const Second s2{s1, {{hs, {}}}}, x2{x1, {{hx, {}}}}, y2{y1, {{hy, {}}}};
                const First k = Shape::evaluate(profile, base, s2, x2, y2).d[0];
                return {k.v, g * k.d[0], g * k.d[1], g * k.d[2]};
            }
        }
    } else {
        Jet<V> jet = Shape::template jet<Order>(profile, base);
        if constexpr (Order == 0) {
            if constexpr (F == Family::angle) jet.f = jet.f * x.norm * y.norm;
            return {jet.f, V{}, V{}, V{}};
        } else {
            settle<A, F>(jet, base, x, y);
            if constexpr (Order == 1)
                return first_parts<A, F>(g, base, jet, x, y);
            else
                return second_parts<A, F>(g, base, jet, x, y, hs, hx, hy);
        }
    }
}

}  // namespace pydistill::gram
