// norm_relu_pool in NCHW order, where a plane is contiguous. Kernel part (see isa.h).
#pragma once

#include "../common/norm_relu_pool.h"
#include "vec.h"

namespace pydistill::cpu::PD_ISA {
namespace {

using namespace pydistill::norm_relu_pool;
template <class A>
A inverse_root(A value) {
    if constexpr (sizeof(A) == 4)
        return A{1} / __builtin_sqrtf(value);
    else
        return A{1} / __builtin_sqrt(value);
}

// Mean and sum of squared deviations of one plane or of one lane's channel.
template <class V>
struct Moments {
    V mean, squares;
};

template <class A>
struct Pointers {
    const A *weight, *bias, *u, *z;
    A *mean, *rstd, *part_w, *part_b;
    explicit Pointers(const Job& job)
        : weight(static_cast<const A*>(job.weight)),
          bias(static_cast<const A*>(job.bias)),
          u(static_cast<const A*>(job.u)),
          z(static_cast<const A*>(job.z)),
          mean(static_cast<A*>(job.mean)),
          rstd(static_cast<A*>(job.rstd)),
          part_w(static_cast<A*>(job.part_w)),
          part_b(static_cast<A*>(job.part_b)) {}
};

template <class S>
Moments<acc_t<S>> plane_moments(const S* x, int64_t size) {
    using A = acc_t<S>;
    constexpr int L = lanes<S>;
    using V = vec<A, L>;
    const A inverse = A{1} / static_cast<A>(size);
    V s0{}, s1{}, s2{}, s3{};
    A rest{};
    int64_t i = 0;
    for (; i + 4 * L <= size; i += 4 * L) {
        s0 += load<S, L>(x + i);
        s1 += load<S, L>(x + i + L);
        s2 += load<S, L>(x + i + 2 * L);
        s3 += load<S, L>(x + i + 3 * L);
    }
    for (; i + L <= size; i += L) s0 += load<S, L>(x + i);
    for (; i < size; ++i) rest += load<S, 1>(x + i)[0];
    const A guess = (total<A, L>((s0 + s1) + (s2 + s3)) + rest) * inverse;
    // Deviations from the guess, which rounding may have put beside the mean: their own mean corrects both.
    V d0{}, d1{}, q0{}, q1{};
    A d_rest{}, q_rest{};
    for (i = 0; i + 2 * L <= size; i += 2 * L) {
        const V e = load<S, L>(x + i) - guess, f = load<S, L>(x + i + L) - guess;
        d0 += e;
        d1 += f;
        q0 += e * e;
        q1 += f * f;
    }
    for (; i < size; ++i) {
        const A e = load<S, 1>(x + i)[0] - guess;
        d_rest += e;
        q_rest += e * e;
    }
    const A d = total<A, L>(d0 + d1) + d_rest, q = total<A, L>(q0 + q1) + q_rest;
    return {guess + d * inverse, q - d * d * inverse};
}

// Averages of the 2x2 windows of a plane of sums.
template <class S>
void pool_plane(const acc_t<S>* values, S* out, int64_t height, int64_t width) {
    using A = acc_t<S>;
    const int64_t pooled = width / 2;
    for (int64_t i = 0; i + 2 <= height; i += 2, out += pooled) {
        const A *top = values + i * width, *bottom = top + width;
        over<lanes<S>>(0, pooled, [&]<int L>(int64_t j) __attribute__((always_inline)) {
            const auto low = load<A, L>(top + 2 * j) + load<A, L>(bottom + 2 * j);
            const auto high = load<A, L>(top + 2 * j + L) + load<A, L>(bottom + 2 * j + L);
            store<S, L>(out + j, pair_sums<A, L>(low, high) * A{0.25});
        });
    }
}

// A quarter of each window's gradient, at its four pixels; 0 where no window reaches.
template <class S>
void spread_plane(const S* grad, acc_t<S>* out, int64_t height, int64_t width) {
    using A = acc_t<S>;
    const int64_t pooled = width / 2;
    for (int64_t i = 0; i + 2 <= height; i += 2, grad += pooled) {
        A *top = out + i * width, *bottom = top + width;
        over<lanes<S>>(0, pooled, [&]<int L>(int64_t j) __attribute__((always_inline)) {
            vec<A, L> low, high;
            twice<A, L>(load<S, L>(grad + j) * A{0.25}, low, high);
            store<A, L>(top + 2 * j, low);
            store<A, L>(top + 2 * j + L, high);
            store<A, L>(bottom + 2 * j, low);
            store<A, L>(bottom + 2 * j + L, high);
        });
        if (width % 2) top[width - 1] = bottom[width - 1] = A{};
    }
    if (height % 2)
        for (int64_t j = 0; j < width; ++j) out[(height - 1) * width + j] = A{};
}

template <class A>
PD_INLINE Plane<A> plane_at(const Job& job, const Pointers<A>& p, int64_t index) {
    const int64_t row = index / job.channels, at = job.weights_of(row) + index % job.channels;
    return {p.mean[index], p.rstd[index], p.weight[at], p.bias[at]};
}

template <class S>
void forward_planes(const Job& job, int64_t begin, int64_t end, void* scratch) {
    using A = acc_t<S>;
    const Pointers<A> p(job);
    A* values = static_cast<A*>(scratch);
    const int64_t size = job.height * job.width, pooled = (job.height / 2) * (job.width / 2);
    for (int64_t index = begin; index < end; ++index) {
        const S* x = static_cast<const S*>(job.x) + index * size;
        const auto moments = plane_moments(x, size);
        p.mean[index] = moments.mean;
        p.rstd[index] = inverse_root(moments.squares / static_cast<A>(size) + static_cast<A>(job.eps));
        const auto plane = plane_at<A>(job, p, index);
        over<lanes<S>>(0, size, [&]<int L>(int64_t i) __attribute__((always_inline)) {
            const auto y = plane.affine(plane.deviation(load<S, L>(x + i)));
            store<A, L>(values + i, rectify(y, y));
        });
        pool_plane<S>(values, static_cast<S*>(job.pooled) + index * pooled, job.height, job.width);
    }
}

template <class S>
void backward_planes(const Job& job, int64_t begin, int64_t end, void* scratch) {
    using A = acc_t<S>;
    constexpr int L = lanes<S>;
    using V = vec<A, L>;
    const Pointers<A> p(job);
    A* gy = static_cast<A*>(scratch);
    const int64_t size = job.height * job.width, pooled = (job.height / 2) * (job.width / 2);
    for (int64_t index = begin; index < end; ++index) {
        const S* x = static_cast<const S*>(job.x) + index * size;
        S* grad_x = static_cast<S*>(job.grad_x) + index * size;
        spread_plane<S>(static_cast<const S*>(job.grad) + index * pooled, gy, job.height, job.width);
        const auto plane = plane_at<A>(job, p, index);
        V a0{}, a1{}, c0{}, c1{};
        A a{}, c{};
        const auto step = [&]<int K>(int64_t i, auto& sum, auto& sum_d) __attribute__((always_inline)) {
            const auto d = plane.deviation(load<S, K>(x + i));
            const auto g = rectify(plane.affine(d), load<A, K>(gy + i));
            store<A, K>(gy + i, g);
            sum += g;
            sum_d += g * d;
        };
        int64_t i = 0;
        for (; i + 2 * L <= size; i += 2 * L) {
            step.template operator()<L>(i, a0, c0);
            step.template operator()<L>(i + L, a1, c1);
        }
        vec<A, 1> a_rest{}, c_rest{};
        for (; i < size; ++i) step.template operator()<1>(i, a_rest, c_rest);
        a = total<A, L>(a0 + a1) + a_rest[0];
        c = total<A, L>(c0 + c1) + c_rest[0];
        p.part_w[index] = c * plane.rstd;
        p.part_b[index] = a;
        const First<A> first(plane, a, c, A{1} / static_cast<A>(size));
        over<L>(0, size, [&]<int K>(int64_t j) __attribute__((always_inline)) {
            const auto d = plane.deviation(load<S, K>(x + j));
            store<S, K>(grad_x + j, first.grad_x(load<A, K>(gy + j), d));
        });
    }
}

template <class S>
void double_backward_planes(const Job& job, int64_t begin, int64_t end, void* scratch) {
    using A = acc_t<S>;
    constexpr int L = lanes<S>;
    const Pointers<A> p(job);
    A* gy = static_cast<A*>(scratch);
    const int64_t size = job.height * job.width, pooled = (job.height / 2) * (job.width / 2);
    for (int64_t index = begin; index < end; ++index) {
        const S* x = static_cast<const S*>(job.x) + index * size;
        const S* v = static_cast<const S*>(job.v) + index * size;
        S* grad_x = static_cast<S*>(job.grad_x) + index * size;
        spread_plane<S>(static_cast<const S*>(job.grad) + index * pooled, gy, job.height, job.width);
        const auto plane = plane_at<A>(job, p, index);
        Sums<vec<A, L>> sums{};
        Sums<vec<A, 1>> rest{};
        const auto step = [&]<int K>(int64_t i, auto& into) __attribute__((always_inline)) {
            const auto d = plane.deviation(load<S, K>(x + i));
            const auto g = rectify(plane.affine(d), load<A, K>(gy + i));
            store<A, K>(gy + i, g);
            into.add(g, d, load<S, K>(v + i));
        };
        int64_t i = 0;
        for (; i + L <= size; i += L) step.template operator()<L>(i, sums);
        for (; i < size; ++i) step.template operator()<1>(i, rest);
        const Sums<A> all{total<A, L>(sums.gy) + rest.gy[0], total<A, L>(sums.gy_d) + rest.gy_d[0],
                          total<A, L>(sums.v) + rest.v[0], total<A, L>(sums.v_d) + rest.v_d[0],
                          total<A, L>(sums.v_gy) + rest.v_gy[0]};
        const int64_t at = job.weights_of(index / job.channels) + index % job.channels;
        const A pixels = static_cast<A>(size);
        const Second<A> second(plane, all, p.u[at], p.z[at], pixels, A{1} / pixels);
        p.part_w[index] = second.grad_w;
        over<L>(0, size, [&]<int K>(int64_t j) __attribute__((always_inline)) {
            const auto d = plane.deviation(load<S, K>(x + j));
            const auto direction = load<S, K>(v + j);
            store<S, K>(grad_x + j, second.grad_x(load<A, K>(gy + j), direction, d));
            store<A, K>(gy + j, rectify(plane.affine(d), second.grad_grad(direction, d)));
        });
        pool_plane<S>(gy, static_cast<S*>(job.pooled) + index * pooled, job.height, job.width);
    }
}

}  // namespace
}  // namespace pydistill::cpu::PD_ISA
