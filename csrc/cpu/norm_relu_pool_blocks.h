// norm_relu_pool in NHWC order, where a pixel's channels are contiguous: blocks of channels, K registers of
// them side by side. Kernel part (see isa.h).
#pragma once

#include "norm_relu_pool_planes.h"

namespace pydistill::cpu::PD_ISA {
namespace {

constexpr int kWide =
    8;  // 8 x 16 floats are the field's 128 channels: images are then read straight through

template <class S>
constexpr int64_t block_channels = kWide * lanes<S>;

// Calls f.operator()<L, K>(channel) over the channels [begin, end): K registers at a time, then half as
// many.
template <class S, int K, class F>
PD_INLINE void over_channels(int64_t begin, int64_t end, const F& f) {
    constexpr int L = lanes<S>;
    int64_t c = begin;
    for (; c + K * L <= end; c += K * L) f.template operator()<L, K>(c);
    if constexpr (K > 2) {
        over_channels<S, K / 2>(c, end, f);
    } else {
        for (; c + L <= end; c += L) f.template operator()<L, 1>(c);
        for (; c < end; ++c) f.template operator()<1, 1>(c);
    }
}

// Calls window(offsets of its four pixels, offset of its output) and then, outside the pooled area,
// rest(offset), all in elements; `channels` is the distance between neighbouring pixels.
template <class W, class R>
PD_INLINE void over_windows(const Job& job, const W& window, const R& rest) {
    const int64_t channels = job.channels, line = job.width * channels, pooled = job.width / 2;
    for (int64_t i = 0; i + 2 <= job.height; i += 2) {
        int64_t at = i * line, out = i / 2 * pooled * channels;
        for (int64_t j = 0; j < pooled; ++j, at += 2 * channels, out += channels)
            window(at, at + channels, at + line, at + line + channels, out);
        if (job.width % 2) rest(at), rest(at + line);
    }
    if (job.height % 2)
        for (int64_t j = 0; j < job.width; ++j) rest((job.height - 1) * line + j * channels);
}

// Moments of K x L channels: exact deviations within a chunk that stays in the first cache, chunks merged
// by Chan's rule.
template <class S, int L, int K>
PD_INLINE void channel_moments(const S* x, int64_t size, int64_t stride,
                               Moments<vec<acc_t<S>, L>>* result) {
    using A = acc_t<S>;
    using V = vec<A, L>;
    constexpr int64_t kChunk = 64;
    V mean[K]{}, squares[K]{};
    for (int64_t begin = 0; begin < size; begin += kChunk) {
        const int64_t count = size - begin < kChunk ? size - begin : kChunk;
        const S* chunk = x + begin * stride;
        const A inverse = A{1} / static_cast<A>(count);
        V sum[K]{}, d[K]{}, q[K]{};
        for (int64_t i = 0; i < count; ++i)
            for (int k = 0; k < K; ++k) sum[k] += load<S, L>(chunk + i * stride + k * L);
        for (int k = 0; k < K; ++k) sum[k] *= inverse;
        for (int64_t i = 0; i < count; ++i)
            for (int k = 0; k < K; ++k) {
                const V e = load<S, L>(chunk + i * stride + k * L) - sum[k];
                d[k] += e;
                q[k] += e * e;
            }
        const A share = static_cast<A>(count) / static_cast<A>(begin + count);
        const A both = static_cast<A>(begin) * share;
        for (int k = 0; k < K; ++k) {
            const V delta = sum[k] + d[k] * inverse - mean[k];
            mean[k] += delta * share;
            squares[k] += q[k] - d[k] * d[k] * inverse + delta * delta * both;
        }
    }
    for (int k = 0; k < K; ++k) result[k] = {mean[k], squares[k]};
}

// Row, first and last channel of a block.
template <class S>
struct Block {
    int64_t row, begin, end;
    Block(const Job& job, int64_t index) {
        const int64_t blocks = (job.channels + block_channels<S> - 1) / block_channels<S>;
        row = index / blocks;
        begin = index % blocks * block_channels<S>;
        end = begin + block_channels<S> < job.channels ? begin + block_channels<S> : job.channels;
    }
};

template <class S, int L, int K>
PD_INLINE void load_planes(const Pointers<acc_t<S>>& p, int64_t statistics, int64_t weights,
                           Plane<vec<acc_t<S>, L>>* planes) {
    using A = acc_t<S>;
    for (int k = 0; k < K; ++k)
        planes[k] = {load<A, L>(p.mean + statistics + k * L), load<A, L>(p.rstd + statistics + k * L),
                     load<A, L>(p.weight + weights + k * L), load<A, L>(p.bias + weights + k * L)};
}

template <class S>
void forward_blocks(const Job& job, int64_t begin, int64_t end, void*) {
    using A = acc_t<S>;
    const Pointers<A> p(job);
    const int64_t channels = job.channels, size = job.height * job.width;
    const int64_t pooled = (job.height / 2) * (job.width / 2);
    const A inverse = A{1} / static_cast<A>(size);
    for (int64_t index = begin; index < end; ++index) {
        const Block<S> block(job, index);
        over_channels<S, kWide>(
            block.begin, block.end, [&]<int L, int K>(int64_t c) __attribute__((always_inline)) {
                using V = vec<A, L>;
                const S* x = static_cast<const S*>(job.x) + block.row * size * channels + c;
                S* out = static_cast<S*>(job.pooled) + block.row * pooled * channels + c;
                const int64_t at = block.row * channels + c;
                Moments<V> moments[K];
                channel_moments<S, L, K>(x, size, channels, moments);
                for (int k = 0; k < K; ++k) {
                    store<A, L>(p.mean + at + k * L, moments[k].mean);
                    for (int l = 0; l < L; ++l)
                        p.rstd[at + k * L + l] =
                            inverse_root(moments[k].squares[l] * inverse + static_cast<A>(job.eps));
                }
                Plane<V> planes[K];
                load_planes<S, L, K>(p, at, job.weights_of(block.row) + c, planes);
                const auto value = [&](int64_t offset, int k) __attribute__((always_inline)) {
                    const V y = planes[k].affine(planes[k].deviation(load<S, L>(x + offset + k * L)));
                    return rectify(y, y);
                };
                over_windows(
                    job,
                    [&](int64_t o0, int64_t o1, int64_t o2, int64_t o3, int64_t to)
                        __attribute__((always_inline)) {
                            for (int k = 0; k < K; ++k) {
                                const V sum = (value(o0, k) + value(o1, k)) + (value(o2, k) + value(o3, k));
                                store<S, L>(out + to + k * L, sum * A{0.25});
                            }
                        },
                    [](int64_t) {});
            });
    }
}

template <class S>
void backward_blocks(const Job& job, int64_t begin, int64_t end, void*) {
    using A = acc_t<S>;
    const Pointers<A> p(job);
    const int64_t channels = job.channels, size = job.height * job.width;
    const int64_t pooled = (job.height / 2) * (job.width / 2);
    const A inverse = A{1} / static_cast<A>(size);
    for (int64_t index = begin; index < end; ++index) {
        const Block<S> block(job, index);
        over_channels<S, kWide>(
            block.begin, block.end, [&]<int L, int K>(int64_t c) __attribute__((always_inline)) {
                using V = vec<A, L>;
                const int64_t offset = block.row * size * channels + c, at = block.row * channels + c;
                const S* x = static_cast<const S*>(job.x) + offset;
                const S* grad = static_cast<const S*>(job.grad) + block.row * pooled * channels + c;
                S* grad_x = static_cast<S*>(job.grad_x) + offset;
                Plane<V> planes[K];
                load_planes<S, L, K>(p, at, job.weights_of(block.row) + c, planes);
                V a[K]{}, s[K]{};
                over_windows(
                    job,
                    [&](int64_t o0, int64_t o1, int64_t o2, int64_t o3, int64_t from)
                        __attribute__((always_inline)) {
                            for (int k = 0; k < K; ++k) {
                                const V g = load<S, L>(grad + from + k * L) * A{0.25};
                                const int64_t pixels[] = {o0, o1, o2, o3};
                                for (const int64_t o : pixels) {
                                    const V d = planes[k].deviation(load<S, L>(x + o + k * L));
                                    const V gy = rectify(planes[k].affine(d), g);
                                    a[k] += gy;
                                    s[k] += gy * d;
                                }
                            }
                        },
                    [](int64_t) {});
                for (int k = 0; k < K; ++k) {
                    store<A, L>(p.part_w + at + k * L, s[k] * planes[k].rstd);
                    store<A, L>(p.part_b + at + k * L, a[k]);
                }
                First<V> first[K];
                for (int k = 0; k < K; ++k)
                    first[k] = First<V>(planes[k], a[k], s[k], broadcast<A, L>(inverse));
                over_windows(
                    job,
                    [&](int64_t o0, int64_t o1, int64_t o2, int64_t o3, int64_t from)
                        __attribute__((always_inline)) {
                            for (int k = 0; k < K; ++k) {
                                const V g = load<S, L>(grad + from + k * L) * A{0.25};
                                const int64_t pixels[] = {o0, o1, o2, o3};
                                for (const int64_t o : pixels) {
                                    const V d = planes[k].deviation(load<S, L>(x + o + k * L));
                                    store<S, L>(grad_x + o + k * L,
                                                first[k].grad_x(rectify(planes[k].affine(d), g), d));
                                }
                            }
                        },
                    [&](int64_t o) __attribute__((always_inline)) {
                        for (int k = 0; k < K; ++k) {
                            store<S, L>(
                                grad_x + o + k * L,
                                first[k].grad_x(V{}, planes[k].deviation(load<S, L>(x + o + k * L))));
                        }
                    });
            });
    }
}

template <class S>
void double_backward_blocks(const Job& job, int64_t begin, int64_t end, void*) {
    using A = acc_t<S>;
    const Pointers<A> p(job);
    const int64_t channels = job.channels, size = job.height * job.width;
    const int64_t pooled = (job.height / 2) * (job.width / 2);
    const A inverse = A{1} / static_cast<A>(size);
    for (int64_t index = begin; index < end; ++index) {
        const Block<S> block(job, index);
        over_channels<S, kWide>(
            block.begin, block.end, [&]<int L, int K>(int64_t c) __attribute__((always_inline)) {
                using V = vec<A, L>;
                const int64_t offset = block.row * size * channels + c, at = block.row * channels + c;
                const int64_t weights = job.weights_of(block.row) + c;
                const S* x = static_cast<const S*>(job.x) + offset;
                const S* v = static_cast<const S*>(job.v) + offset;
                const S* grad = static_cast<const S*>(job.grad) + block.row * pooled * channels + c;
                S* grad_x = static_cast<S*>(job.grad_x) + offset;
                S* grad_grad = static_cast<S*>(job.pooled) + block.row * pooled * channels + c;
                Plane<V> planes[K];
                load_planes<S, L, K>(p, at, weights, planes);
                Sums<V> sums[K]{};
                over_windows(
                    job,
                    [&](int64_t o0, int64_t o1, int64_t o2, int64_t o3,
                        int64_t from) __attribute__((always_inline)) {
                        for (int k = 0; k < K; ++k) {
                            const V g = load<S, L>(grad + from + k * L) * A{0.25};
                            const int64_t pixels[] = {o0, o1, o2, o3};
                            for (const int64_t o : pixels) {
                                const V d = planes[k].deviation(load<S, L>(x + o + k * L));
                                sums[k].add(rectify(planes[k].affine(d), g), d, load<S, L>(v + o + k * L));
                            }
                        }
                    },
                    [&](int64_t o) __attribute__((always_inline)) {
                        for (int k = 0; k < K; ++k)
                            sums[k].add(V{}, planes[k].deviation(load<S, L>(x + o + k * L)),
                                        load<S, L>(v + o + k * L));
                    });
                Second<V> second[K];
                for (int k = 0; k < K; ++k) {
                    second[k] = Second<V>(planes[k], sums[k], load<A, L>(p.u + weights + k * L),
                                          load<A, L>(p.z + weights + k * L),
                                          broadcast<A, L>(static_cast<A>(size)), broadcast<A, L>(inverse));
                    store<A, L>(p.part_w + at + k * L, second[k].grad_w);
                }
                over_windows(
                    job,
                    [&](int64_t o0, int64_t o1, int64_t o2, int64_t o3, int64_t from)
                        __attribute__((always_inline)) {
                            for (int k = 0; k < K; ++k) {
                                const V g = load<S, L>(grad + from + k * L) * A{0.25};
                                V window{};
                                const int64_t pixels[] = {o0, o1, o2, o3};
                                for (const int64_t o : pixels) {
                                    const V d = planes[k].deviation(load<S, L>(x + o + k * L));
                                    const V direction = load<S, L>(v + o + k * L), y = planes[k].affine(d);
                                    store<S, L>(grad_x + o + k * L,
                                                second[k].grad_x(rectify(y, g), direction, d));
                                    window += rectify(y, second[k].grad_grad(direction, d));
                                }
                                store<S, L>(grad_grad + from + k * L, window * A{0.25});
                            }
                        },
                    [&](int64_t o) __attribute__((always_inline)) {
                        for (int k = 0; k < K; ++k) {
                            const V d = planes[k].deviation(load<S, L>(x + o + k * L));
                            store<S, L>(grad_x + o + k * L,
                                        second[k].grad_x(V{}, load<S, L>(v + o + k * L), d));
                        }
                    });
            });
    }
}

}  // namespace
}  // namespace pydistill::cpu::PD_ISA
