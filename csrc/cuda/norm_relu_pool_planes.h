// norm_relu_pool in NCHW order: a team of threads a plane, a warp for small planes, a block for large ones.
// The plane is kept in shared memory between the reduction and the output pass where it fits.
#pragma once

#include "norm_relu_pool_view.h"

namespace pydistill::cuda {
namespace {

// A plane as the output pass sees it: in shared memory, or in global memory once more.
template <class S>
struct Tile {
    const S* global;
    acc_t<S>* shared;  // null where the plane does not fit

    __device__ acc_t<S> operator[](int i) const { return shared ? shared[i] : widen(global[i]); }
    __device__ void keep(int i, acc_t<S> value) const {
        if (shared) shared[i] = value;
    }
    __device__ void read(int at, bool paired, acc_t<S>* to) const {
        read_pair(global + at, paired, to);
        keep(at, to[0]), keep(at + 1, to[1]);
    }
};

// Tile number `which` of this team's.
template <class S, class Team>
__device__ __forceinline__ Tile<S> tile_of(const View<S>& view, acc_t<S>* shared, bool kept, const S* plane,
                                           int which, int tiles) {
    return {plane, kept ? shared + (Team::team() * tiles + which) * view.size : nullptr};
}

template <class Team>
__device__ __forceinline__ int64_t plane_index(int teams) {
    return static_cast<int64_t>(blockIdx.x) * teams + Team::team();
}

template <class S, class Team>
__global__ void forward_planes(View<S> view, int64_t planes, int teams, bool kept) {
    using A = acc_t<S>;
    PD_SHARED_DYNAMIC(A, shared);
    const int64_t index = plane_index<Team>(teams);
    if (index >= planes) return;  // a whole team
    const int size = static_cast<int>(view.size);
    const A inverse = A{1} / static_cast<A>(size);
    const auto tile = tile_of<S, Team>(view, shared, kept, view.x() + index * view.size, 0, 1);
    A sum[1]{};
    for (int i = Team::rank(); i < size; i += Team::kThreads) {
        const A value = widen(tile.global[i]);
        tile.keep(i, value);
        sum[0] += value;
    }
    Team::sum(sum);
    const A guess = sum[0] * inverse;
    A deviation[2]{};  // of the guess, and squared: rounding may have put it beside the mean
    for (int i = Team::rank(); i < size; i += Team::kThreads) {
        const A d = tile[i] - guess;
        deviation[0] += d;
        deviation[1] += d * d;
    }
    Team::sum(deviation);
    const A shift = deviation[0] * inverse;
    const A variance = (deviation[1] - deviation[0] * shift) * inverse;
    const int64_t at = view.weights(index);
    const Plane<A> plane{guess + shift, inverse_root(variance + static_cast<A>(view.job.eps)),
                         static_cast<const A*>(view.job.weight)[at],
                         static_cast<const A*>(view.job.bias)[at]};
    if (Team::rank() == 0) {
        view.put(view.job.mean, index, plane.mean);
        view.put(view.job.rstd, index, plane.rstd);
    }
    S* out = view.out() + index * view.pooled;
    const int pooled = static_cast<int>(view.pooled), width = static_cast<int>(view.job.width);
    Team::sync();  // other threads' part of the tile
    for (int o = Team::rank(); o < pooled; o += Team::kThreads) {
        const int corner = window_at(view.job, o);
        A total{};
        for (int k = 0; k < 4; ++k) {
            const A y = plane.affine(plane.deviation(tile[corner + (k & 1) + (k >> 1) * width]));
            total += rectify(y, y);
        }
        narrow(total * A{0.25}, out[o]);
    }
}

template <class S, class Team>
__global__ void backward_planes(View<S> view, int64_t planes, int teams, bool kept) {
    using A = acc_t<S>;
    PD_SHARED_DYNAMIC(A, shared);
    const int64_t index = plane_index<Team>(teams);
    if (index >= planes) return;
    const auto tile = tile_of<S, Team>(view, shared, kept, view.x() + index * view.size, 0, 1);
    const S* grad = view.grad() + index * view.pooled;
    S* grad_x = view.grad_x() + index * view.size;
    const Plane<A> plane = view.plane(index);
    const int pooled = static_cast<int>(view.pooled), width = static_cast<int>(view.job.width);
    const int rest = rest_count(view.job);
    A sums[2]{};
    for (int o = Team::rank(); o < pooled; o += Team::kThreads) {
        const A g = widen(grad[o]) * A{0.25};
        const int corner = window_at(view.job, o);
        for (int line = 0; line < 2; ++line) {
            A x[2];
            tile.read(corner + line * width, view.paired, x);
            for (int k = 0; k < 2; ++k) {
                const A d = plane.deviation(x[k]), gy = rectify(plane.affine(d), g);
                sums[0] += gy;
                sums[1] += gy * d;
            }
        }
    }
    Team::sum(sums);
    if (Team::rank() == 0) {
        view.put(view.job.part_b, index, sums[0]);
        view.put(view.job.part_w, index, sums[1] * plane.rstd);
    }
    const First<A> first(plane, sums[0], sums[1], A{1} / static_cast<A>(view.size));
    for (int o = Team::rank(); o < pooled; o += Team::kThreads) {  // the windows that this thread kept
        const A g = widen(grad[o]) * A{0.25};
        const int corner = window_at(view.job, o);
        for (int line = 0; line < 2; ++line) {
            const int at = corner + line * width;
            A result[2];
            for (int k = 0; k < 2; ++k) {
                const A d = plane.deviation(tile[at + k]);
                result[k] = first.grad_x(rectify(plane.affine(d), g), d);
            }
            write_pair(grad_x + at, view.paired, result);
        }
    }
    for (int i = Team::rank(); i < rest; i += Team::kThreads) {
        const int at = rest_at(view.job, i);
        narrow(first.grad_x(A{}, plane.deviation(widen(tile.global[at]))), grad_x[at]);
    }
}

template <class S, class Team>
__global__ void double_backward_planes(View<S> view, int64_t planes, int teams, bool kept) {
    using A = acc_t<S>;
    PD_SHARED_DYNAMIC(A, shared);
    const int64_t index = plane_index<Team>(teams);
    if (index >= planes) return;
    const auto tile = tile_of<S, Team>(view, shared, kept, view.x() + index * view.size, 0, 2);
    const auto direction = tile_of<S, Team>(view, shared, kept, view.v() + index * view.size, 1, 2);
    const S* grad = view.grad() + index * view.pooled;
    S *grad_x = view.grad_x() + index * view.size, *grad_grad = view.out() + index * view.pooled;
    const Plane<A> plane = view.plane(index);
    const int pooled = static_cast<int>(view.pooled), width = static_cast<int>(view.job.width);
    const int rest = rest_count(view.job);
    Sums<A> mine{};
    for (int o = Team::rank(); o < pooled; o += Team::kThreads) {
        const A g = widen(grad[o]) * A{0.25};
        const int corner = window_at(view.job, o);
        for (int line = 0; line < 2; ++line) {
            A x[2], v[2];
            tile.read(corner + line * width, view.paired, x);
            direction.read(corner + line * width, view.paired, v);
            for (int k = 0; k < 2; ++k) {
                const A d = plane.deviation(x[k]);
                mine.add(rectify(plane.affine(d), g), d, v[k]);
            }
        }
    }
    for (int i = Team::rank(); i < rest; i += Team::kThreads) {
        const int at = rest_at(view.job, i);
        mine.add(A{}, plane.deviation(widen(tile.global[at])), widen(direction.global[at]));
    }
    A sums[5] = {mine.gy, mine.gy_d, mine.v, mine.v_d, mine.v_gy};
    Team::sum(sums);
    const int64_t at_weights = view.weights(index);
    const Second<A> second(plane, {sums[0], sums[1], sums[2], sums[3], sums[4]},
                           static_cast<const A*>(view.job.u)[at_weights],
                           static_cast<const A*>(view.job.z)[at_weights], static_cast<A>(view.size),
                           A{1} / static_cast<A>(view.size));
    if (Team::rank() == 0) view.put(view.job.part_w, index, second.grad_w);
    for (int o = Team::rank(); o < pooled; o += Team::kThreads) {
        const A g = widen(grad[o]) * A{0.25};
        const int corner = window_at(view.job, o);
        A window{};
        for (int line = 0; line < 2; ++line) {
            const int at = corner + line * width;
            A result[2];
            for (int k = 0; k < 2; ++k) {
                const A d = plane.deviation(tile[at + k]), y = plane.affine(d), v = direction[at + k];
                result[k] = second.grad_x(rectify(y, g), v, d);
                window += rectify(y, second.grad_grad(v, d));
            }
            write_pair(grad_x + at, view.paired, result);
        }
        narrow(window * A{0.25}, grad_grad[o]);
    }
    for (int i = Team::rank(); i < rest; i += Team::kThreads) {
        const int at = rest_at(view.job, i);
        const A d = plane.deviation(widen(tile.global[at]));
        narrow(second.grad_x(A{}, widen(direction.global[at]), d), grad_x[at]);
    }
}

}  // namespace
}  // namespace pydistill::cuda
