// norm_relu_pool on the CPU: each derivative one reduction pass and one output pass over a plane in cache.
#include "../common/norm_relu_pool.h"

#include <stdint.h>

#include "isa.h"

namespace pydistill::cpu::nrp {

using norm_relu_pool::Job;
using norm_relu_pool::Storage;

// Planes (NCHW) or blocks of channels of one image (NHWC) from `begin` to `end`; `scratch` holds H W sums.
using Kernel = void (*)(const Job&, int64_t begin, int64_t end, void* scratch);

struct Table {
    Kernel forward, backward, double_backward;
    int64_t (*blocks)(const Job&);  // blocks of channels an image is cut into in NHWC order
};

}  // namespace pydistill::cpu::nrp

#ifdef PD_ISA
// ---- kernel part --------------------------------------------------------------------------------------
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

// ---- NCHW: a plane is contiguous ----

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
            const auto y = plane.affine(plane.normal(load<S, L>(x + i)));
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
        const auto step = [&]<int K>(int64_t i, auto& sum, auto& sum_xh) __attribute__((always_inline)) {
            const auto xh = plane.normal(load<S, K>(x + i));
            const auto g = rectify(plane.affine(xh), load<A, K>(gy + i));
            store<A, K>(gy + i, g);
            sum += g;
            sum_xh += g * xh;
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
        p.part_w[index] = c;
        p.part_b[index] = a;
        const First<A> first(plane, a, c, A{1} / static_cast<A>(size));
        over<L>(0, size, [&]<int K>(int64_t j) __attribute__((always_inline)) {
            const auto xh = plane.normal(load<S, K>(x + j));
            store<S, K>(grad_x + j, first.grad_x(load<A, K>(gy + j), xh));
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
            const auto xh = plane.normal(load<S, K>(x + i));
            const auto g = rectify(plane.affine(xh), load<A, K>(gy + i));
            store<A, K>(gy + i, g);
            into.add(g, xh, load<S, K>(v + i));
        };
        int64_t i = 0;
        for (; i + L <= size; i += L) step.template operator()<L>(i, sums);
        for (; i < size; ++i) step.template operator()<1>(i, rest);
        const Sums<A> all{total<A, L>(sums.gy) + rest.gy[0], total<A, L>(sums.gy_xh) + rest.gy_xh[0],
                          total<A, L>(sums.v) + rest.v[0], total<A, L>(sums.v_xh) + rest.v_xh[0],
                          total<A, L>(sums.v_gy) + rest.v_gy[0]};
        const int64_t at = job.weights_of(index / job.channels) + index % job.channels;
        const Second<A> second(plane, all, p.u[at], p.z[at], A{1} / static_cast<A>(size));
        p.part_w[index] = second.grad_weight(static_cast<A>(size));
        over<L>(0, size, [&]<int K>(int64_t j) __attribute__((always_inline)) {
            const auto xh = plane.normal(load<S, K>(x + j));
            const auto direction = load<S, K>(v + j);
            store<S, K>(grad_x + j, second.grad_x(load<A, K>(gy + j), direction, xh));
            store<A, K>(gy + j, rectify(plane.affine(xh), second.grad_grad(direction, xh)));
        });
        pool_plane<S>(gy, static_cast<S*>(job.pooled) + index * pooled, job.height, job.width);
    }
}

// ---- NHWC: a pixel's channels are contiguous; K registers of channels are worked on side by side ----

constexpr int kWide = 4;

template <class S>
constexpr int64_t block_channels = kWide * lanes<S>;

// Calls f.operator()<L, K>(channel) over the channels [begin, end).
template <class S, int K, class F>
PD_INLINE void over_channels(int64_t begin, int64_t end, const F& f) {
    constexpr int L = lanes<S>;
    int64_t c = begin;
    for (; c + K * L <= end; c += K * L) f.template operator()<L, K>(c);
    for (; c + L <= end; c += L) f.template operator()<L, 1>(c);
    for (; c < end; ++c) f.template operator()<1, 1>(c);
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
                    const V y = planes[k].affine(planes[k].normal(load<S, L>(x + offset + k * L)));
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
                                    const V xh = planes[k].normal(load<S, L>(x + o + k * L));
                                    const V gy = rectify(planes[k].affine(xh), g);
                                    a[k] += gy;
                                    s[k] += gy * xh;
                                }
                            }
                        },
                    [](int64_t) {});
                for (int k = 0; k < K; ++k) {
                    store<A, L>(p.part_w + at + k * L, s[k]);
                    store<A, L>(p.part_b + at + k * L, a[k]);
                }
                const V scale_m = broadcast<A, L>(inverse);
                over_windows(
                    job,
                    [&](int64_t o0, int64_t o1, int64_t o2, int64_t o3, int64_t from)
                        __attribute__((always_inline)) {
                            for (int k = 0; k < K; ++k) {
                                const First<V> first(planes[k], a[k], s[k], scale_m);
                                const V g = load<S, L>(grad + from + k * L) * A{0.25};
                                const int64_t pixels[] = {o0, o1, o2, o3};
                                for (const int64_t o : pixels) {
                                    const V xh = planes[k].normal(load<S, L>(x + o + k * L));
                                    store<S, L>(grad_x + o + k * L,
                                                first.grad_x(rectify(planes[k].affine(xh), g), xh));
                                }
                            }
                        },
                    [&](int64_t o) __attribute__((always_inline)) {
                        for (int k = 0; k < K; ++k) {
                            const First<V> first(planes[k], a[k], s[k], scale_m);
                            store<S, L>(grad_x + o + k * L,
                                        first.grad_x(V{}, planes[k].normal(load<S, L>(x + o + k * L))));
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
        over_channels<S, 2>(
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
                    [&](int64_t o0, int64_t o1, int64_t o2, int64_t o3, int64_t from)
                        __attribute__((always_inline)) {
                            for (int k = 0; k < K; ++k) {
                                const V g = load<S, L>(grad + from + k * L) * A{0.25};
                                const int64_t pixels[] = {o0, o1, o2, o3};
                                for (const int64_t o : pixels) {
                                    const V xh = planes[k].normal(load<S, L>(x + o + k * L));
                                    sums[k].add(rectify(planes[k].affine(xh), g), xh,
                                                load<S, L>(v + o + k * L));
                                }
                            }
                        },
                    [&](int64_t o) __attribute__((always_inline)) {
                        for (int k = 0; k < K; ++k)
                            sums[k].add(V{}, planes[k].normal(load<S, L>(x + o + k * L)),
                                        load<S, L>(v + o + k * L));
                    });
                const auto second = [&](int k) __attribute__((always_inline)) {
                    return Second<V>(planes[k], sums[k], load<A, L>(p.u + weights + k * L),
                                     load<A, L>(p.z + weights + k * L), broadcast<A, L>(inverse));
                };
                for (int k = 0; k < K; ++k)
                    store<A, L>(p.part_w + at + k * L,
                                second(k).grad_weight(broadcast<A, L>(static_cast<A>(size))));
                over_windows(
                    job,
                    [&](int64_t o0, int64_t o1, int64_t o2, int64_t o3, int64_t from)
                        __attribute__((always_inline)) {
                            for (int k = 0; k < K; ++k) {
                                const Second<V> s = second(k);
                                const V g = load<S, L>(grad + from + k * L) * A{0.25};
                                V window{};
                                const int64_t pixels[] = {o0, o1, o2, o3};
                                for (const int64_t o : pixels) {
                                    const V xh = planes[k].normal(load<S, L>(x + o + k * L));
                                    const V direction = load<S, L>(v + o + k * L), y = planes[k].affine(xh);
                                    store<S, L>(grad_x + o + k * L, s.grad_x(rectify(y, g), direction, xh));
                                    window += rectify(y, s.grad_grad(direction, xh));
                                }
                                store<S, L>(grad_grad + from + k * L, window * A{0.25});
                            }
                        },
                    [&](int64_t o) __attribute__((always_inline)) {
                        for (int k = 0; k < K; ++k) {
                            const V xh = planes[k].normal(load<S, L>(x + o + k * L));
                            store<S, L>(grad_x + o + k * L,
                                        second(k).grad_x(V{}, load<S, L>(v + o + k * L), xh));
                        }
                    });
            });
    }
}

#define PD_BY_STORAGE(name)                                                                                \
    void name(const Job& job, int64_t begin, int64_t end, void* scratch) {                                 \
        if (job.storage == Storage::f32)                                                                   \
            (job.channels_last ? name##_blocks<float> : name##_planes<float>)(job, begin, end, scratch);   \
        else if (job.storage == Storage::f64)                                                              \
            (job.channels_last ? name##_blocks<double> : name##_planes<double>)(job, begin, end, scratch); \
        else                                                                                               \
            (job.channels_last ? name##_blocks<bf16> : name##_planes<bf16>)(job, begin, end, scratch);     \
    }
PD_BY_STORAGE(forward)
PD_BY_STORAGE(backward)
PD_BY_STORAGE(double_backward)

int64_t blocks(const Job& job) {
    const int64_t size = job.storage == Storage::f64 ? block_channels<double> : block_channels<float>;
    return (job.channels + size - 1) / size;
}

}  // namespace

extern const nrp::Table norm_relu_pool_table;
const nrp::Table norm_relu_pool_table{forward, backward, double_backward, blocks};

}  // namespace pydistill::cpu::PD_ISA

#else
// ---- host part ----------------------------------------------------------------------------------------
#include <memory>

#include "../common/norm_relu_pool_ops.h"
#include "parallel.h"

PD_DECLARE_LEVELS(pydistill::cpu::nrp::Table, norm_relu_pool_table)

namespace pydistill::cpu {
namespace {

using nrp::Job;

struct Backend {
    static Tensor output(std::initializer_list<int64_t> shape, const Tensor& like, Order order) {
        return cpu::output(shape, like, order);
    }
    static Tensor sum_images(const Tensor& parts, int64_t groups) { return cpu::sum_images(parts, groups); }

    static void forward(const Job& job, const Tensor&) { run(job, PD_TABLE(norm_relu_pool_table).forward); }
    static void backward(const Job& job, const Tensor&) {
        run(job, PD_TABLE(norm_relu_pool_table).backward);
    }
    static void double_backward(const Job& job, const Tensor&) {
        run(job, PD_TABLE(norm_relu_pool_table).double_backward);
    }

    static void run(const Job& job, nrp::Kernel kernel) {
        const int64_t size = job.height * job.width;
        const int64_t blocks =
            job.channels_last ? PD_TABLE(norm_relu_pool_table).blocks(job) : job.channels;
        parallel(job.rows * blocks, size * job.channels / blocks, [&](int64_t begin, int64_t end) {
            const std::unique_ptr<double[]> scratch(job.channels_last ? nullptr : new double[size]);
            kernel(job, begin, end, scratch.get());
        });
    }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(pydistill, CPU, m) { norm_relu_pool::Operators<Backend>::implement(m); }

}  // namespace pydistill::cpu

#endif
