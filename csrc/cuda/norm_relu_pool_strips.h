// norm_relu_pool in NHWC order: a block a strip of 32 channels of one image, a lane a channel, so that
// every access is coalesced; threadIdx.x a channel of the strip, threadIdx.y every so manieth pixel or
// window.
#pragma once

#include "norm_relu_pool_view.h"

namespace pydistill::cuda {
namespace {

constexpr int kStrip = 32, kLines = 8;

// Sums over a strip's lines; every line gets the result.
template <class A, int N>
__device__ void sum_lines(A (&values)[N]) {
    PD_SHARED(A, parts, kLines * N * kStrip);
    const int lane = threadIdx.x, line = threadIdx.y;
    for (int i = 0; i < N; ++i) parts[(line * N + i) * kStrip + lane] = values[i];
    __syncthreads();
    for (int i = 0; i < N; ++i) {
        A total = parts[i * kStrip + lane];
        for (int l = 1; l < kLines; ++l) total += parts[(l * N + i) * kStrip + lane];
        values[i] = total;
    }
    __syncthreads();
}

// One thread's place: its plane's index and the offset of its channel in its image.
struct Place {
    int64_t plane, image, pooled;
    bool idle;  // a lane past the last channel: it computes on the last one and writes nothing
};

template <class S>
__device__ __forceinline__ Place place_of(const View<S>& view) {
    const int64_t channels = view.job.channels, strips = (channels + kStrip - 1) / kStrip;
    const int64_t row = static_cast<int64_t>(blockIdx.x) / strips;
    const int64_t wanted = static_cast<int64_t>(blockIdx.x) % strips * kStrip + threadIdx.x;
    const int64_t channel = wanted < channels ? wanted : channels - 1;
    return {row * channels + channel, row * view.size * channels + channel,
            row * view.pooled * channels + channel, wanted >= channels};
}

template <class S>
__global__ void forward_strips(View<S> view) {
    using A = acc_t<S>;
    const Place place = place_of(view);
    const int64_t channels = view.job.channels;
    const int size = static_cast<int>(view.size);
    const S* x = view.x() + place.image;
    // Each thread: exact deviations within chunks of its pixels, chunks merged by Chan's rule.
    constexpr int kChunk = 8;
    A mean{}, squares{};
    int seen = 0;
    for (int begin = threadIdx.y; begin < size; begin += kChunk * kLines) {
        A values[kChunk], sum{};
        int count = 0;
        for (int i = 0; i < kChunk; ++i) {
            const int pixel = begin + i * kLines;
            values[i] = pixel < size ? widen(x[pixel * channels]) : A{};
            sum += values[i];
            count += pixel < size;
        }
        const A average = sum / static_cast<A>(count), delta = average - mean;
        for (int i = 0; i < kChunk; ++i)
            if (i < count) squares += (values[i] - average) * (values[i] - average);
        const A share = static_cast<A>(count) / static_cast<A>(seen + count);
        mean += delta * share;
        squares += delta * delta * share * static_cast<A>(seen);
        seen += count;
    }
    const A inverse = A{1} / static_cast<A>(size);
    A total[1] = {mean * static_cast<A>(seen)};
    sum_lines(total);
    const A middle = total[0] * inverse, off = mean - middle;
    A spread[1] = {squares + off * off * static_cast<A>(seen)};
    sum_lines(spread);
    const int64_t at = view.weights(place.plane);
    const Plane<A> plane{middle, inverse_root(spread[0] * inverse + static_cast<A>(view.job.eps)),
                         static_cast<const A*>(view.job.weight)[at],
                         static_cast<const A*>(view.job.bias)[at]};
    if (place.idle) return;
    if (threadIdx.y == 0) {
        view.put(view.job.mean, place.plane, plane.mean);
        view.put(view.job.rstd, place.plane, plane.rstd);
    }
    S* out = view.out() + place.pooled;
    const int pooled = static_cast<int>(view.pooled), width = static_cast<int>(view.job.width);
    for (int o = threadIdx.y; o < pooled; o += kLines) {
        const int corner = window_at(view.job, o);
        A window{};
        for (int k = 0; k < 4; ++k) {
            const int64_t pixel = corner + (k & 1) + (k >> 1) * width;
            const A y = plane.affine(plane.deviation(widen(x[pixel * channels])));
            window += rectify(y, y);
        }
        narrow(window * A{0.25}, out[o * channels]);
    }
}

template <class S>
__global__ void backward_strips(View<S> view) {
    using A = acc_t<S>;
    const Place place = place_of(view);
    const int64_t channels = view.job.channels;
    const S *x = view.x() + place.image, *grad = view.grad() + place.pooled;
    S* grad_x = view.grad_x() + place.image;
    const Plane<A> plane = view.plane(place.plane);
    const int pooled = static_cast<int>(view.pooled), width = static_cast<int>(view.job.width);
    const int rest = rest_count(view.job);
    A sums[2]{};
    for (int o = threadIdx.y; o < pooled; o += kLines) {
        const A g = widen(grad[o * channels]) * A{0.25};
        const int corner = window_at(view.job, o);
        for (int k = 0; k < 4; ++k) {
            const int64_t pixel = corner + (k & 1) + (k >> 1) * width;
            const A d = plane.deviation(widen(x[pixel * channels])), gy = rectify(plane.affine(d), g);
            sums[0] += gy;
            sums[1] += gy * d;
        }
    }
    sum_lines(sums);
    if (place.idle) return;
    if (threadIdx.y == 0) {
        view.put(view.job.part_b, place.plane, sums[0]);
        view.put(view.job.part_w, place.plane, sums[1] * plane.rstd);
    }
    const First<A> first(plane, sums[0], sums[1], A{1} / static_cast<A>(view.size));
    for (int o = threadIdx.y; o < pooled; o += kLines) {
        const A g = widen(grad[o * channels]) * A{0.25};
        const int corner = window_at(view.job, o);
        for (int k = 0; k < 4; ++k) {
            const int64_t pixel = corner + (k & 1) + (k >> 1) * width;
            const A d = plane.deviation(widen(x[pixel * channels]));
            narrow(first.grad_x(rectify(plane.affine(d), g), d), grad_x[pixel * channels]);
        }
    }
    for (int i = threadIdx.y; i < rest; i += kLines) {
        const int64_t at = rest_at(view.job, i) * channels;
        narrow(first.grad_x(A{}, plane.deviation(widen(x[at]))), grad_x[at]);
    }
}

template <class S>
__global__ void double_backward_strips(View<S> view) {
    using A = acc_t<S>;
    const Place place = place_of(view);
    const int64_t channels = view.job.channels;
    const S *x = view.x() + place.image, *v = view.v() + place.image, *grad = view.grad() + place.pooled;
    S *grad_x = view.grad_x() + place.image, *grad_grad = view.out() + place.pooled;
    const Plane<A> plane = view.plane(place.plane);
    const int pooled = static_cast<int>(view.pooled), width = static_cast<int>(view.job.width);
    const int rest = rest_count(view.job);
    Sums<A> mine{};
    for (int o = threadIdx.y; o < pooled; o += kLines) {
        const A g = widen(grad[o * channels]) * A{0.25};
        const int corner = window_at(view.job, o);
        for (int k = 0; k < 4; ++k) {
            const int64_t at = (corner + (k & 1) + (k >> 1) * width) * channels;
            const A d = plane.deviation(widen(x[at]));
            mine.add(rectify(plane.affine(d), g), d, widen(v[at]));
        }
    }
    for (int i = threadIdx.y; i < rest; i += kLines) {
        const int64_t at = rest_at(view.job, i) * channels;
        mine.add(A{}, plane.deviation(widen(x[at])), widen(v[at]));
    }
    A sums[5] = {mine.gy, mine.gy_d, mine.v, mine.v_d, mine.v_gy};
    sum_lines(sums);
    if (place.idle) return;
    const int64_t at_weights = view.weights(place.plane);
    const Second<A> second(plane, {sums[0], sums[1], sums[2], sums[3], sums[4]},
                           static_cast<const A*>(view.job.u)[at_weights],
                           static_cast<const A*>(view.job.z)[at_weights], static_cast<A>(view.size),
                           A{1} / static_cast<A>(view.size));
    if (threadIdx.y == 0) view.put(view.job.part_w, place.plane, second.grad_w);
    for (int o = threadIdx.y; o < pooled; o += kLines) {
        const A g = widen(grad[o * channels]) * A{0.25};
        const int corner = window_at(view.job, o);
        A window{};
        for (int k = 0; k < 4; ++k) {
            const int64_t at = (corner + (k & 1) + (k >> 1) * width) * channels;
            const A d = plane.deviation(widen(x[at])), y = plane.affine(d), direction = widen(v[at]);
            narrow(second.grad_x(rectify(y, g), direction, d), grad_x[at]);
            window += rectify(y, second.grad_grad(direction, d));
        }
        narrow(window * A{0.25}, grad_grad[o * channels]);
    }
    for (int i = threadIdx.y; i < rest; i += kLines) {
        const int64_t at = rest_at(view.job, i) * channels;
        narrow(second.grad_x(A{}, widen(v[at]), plane.deviation(widen(x[at]))), grad_x[at]);
    }
}

}  // namespace
}  // namespace pydistill::cuda
