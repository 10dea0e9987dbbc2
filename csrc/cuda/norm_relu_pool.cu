// norm_relu_pool on CUDA. NCHW: a team of threads a plane (a warp for small planes, a block for large
// ones), the plane kept in shared memory between the reduction and the output pass where it fits. NHWC: a
// block a strip of 32 channels of one image, a lane a channel, so that every access is coalesced.
#include "../common/bf16.h"
#include "../common/norm_relu_pool_ops.h"
#include "reduce.h"

namespace pydistill::cuda {
namespace {

using namespace pydistill::norm_relu_pool;

template <class A>
__device__ __forceinline__ A inverse_root(A value) {
    if constexpr (sizeof(A) == 4)
        return A{1} / sqrtf(value);
    else
        return A{1} / sqrt(value);
}

// Two neighbours with one access; what is read stays in the cache for the second pass.
template <class S>
struct alignas(2 * sizeof(S)) Pair {
    S first, second;
};

// Job with its pointers' types.
template <class S>
struct View {
    using A = acc_t<S>;
    Job job;
    int64_t size, pooled;  // pixels of a plane, and of its output
    bool paired;           // rows can be accessed in aligned pairs

    __device__ const S* x() const { return static_cast<const S*>(job.x); }
    __device__ const S* v() const { return static_cast<const S*>(job.v); }
    __device__ const S* grad() const { return static_cast<const S*>(job.grad); }
    __device__ S* out() const { return static_cast<S*>(job.pooled); }
    __device__ S* grad_x() const { return static_cast<S*>(job.grad_x); }

    // Plane `index` = row * C + channel.
    __device__ Plane<A> plane(int64_t index) const {
        const int64_t at = weights(index);
        return {static_cast<const A*>(job.mean)[index], static_cast<const A*>(job.rstd)[index],
                static_cast<const A*>(job.weight)[at], static_cast<const A*>(job.bias)[at]};
    }
    __device__ int64_t weights(int64_t index) const {
        const int64_t row = index / job.channels;
        return job.weights_of(row) + (index - row * job.channels);
    }
    __device__ void put(void* statistic, int64_t index, A value) const {
        static_cast<A*>(statistic)[index] = value;
    }
};

template <class S>
__device__ __forceinline__ void read_pair(const S* p, bool paired, acc_t<S>* to) {
    if (paired) {
        const Pair<S> both = *reinterpret_cast<const Pair<S>*>(p);
        to[0] = widen(both.first), to[1] = widen(both.second);
    } else {
        to[0] = widen(p[0]), to[1] = widen(p[1]);
    }
}
template <class S>
__device__ __forceinline__ void write_pair(S* p, bool paired, const acc_t<S>* from) {
    Pair<S> both;
    narrow(from[0], both.first), narrow(from[1], both.second);
    if (paired)
        *reinterpret_cast<Pair<S>*>(p) = both;
    else
        p[0] = both.first, p[1] = both.second;
}

// The four pixels of window `index`: those of the upper row at the result, those of the lower `width` on.
__device__ __forceinline__ int window_at(const Job& job, int index) {
    const int pooled = static_cast<int>(job.width / 2), i = index / pooled;
    return 2 * (i * static_cast<int>(job.width) + (index - i * pooled));
}

// Pixels that no window reaches: those of an odd last column, then those of an odd last row.
__device__ __forceinline__ int rest_count(const Job& job) {
    const int height = static_cast<int>(job.height), width = static_cast<int>(job.width);
    return (width % 2) * (height / 2 * 2) + (height % 2) * width;
}
__device__ __forceinline__ int rest_at(const Job& job, int index) {
    const int height = static_cast<int>(job.height), width = static_cast<int>(job.width);
    const int column = (width % 2) * (height / 2 * 2);
    return index < column ? index * width + width - 1 : (height - 1) * width + index - column;
}

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
            const A y = plane.affine(plane.normal(tile[corner + (k & 1) + (k >> 1) * width]));
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
                const A xh = plane.normal(x[k]), gy = rectify(plane.affine(xh), g);
                sums[0] += gy;
                sums[1] += gy * xh;
            }
        }
    }
    Team::sum(sums);
    if (Team::rank() == 0) {
        view.put(view.job.part_b, index, sums[0]);
        view.put(view.job.part_w, index, sums[1]);
    }
    const First<A> first(plane, sums[0], sums[1], A{1} / static_cast<A>(view.size));
    for (int o = Team::rank(); o < pooled; o += Team::kThreads) {  // the windows that this thread kept
        const A g = widen(grad[o]) * A{0.25};
        const int corner = window_at(view.job, o);
        for (int line = 0; line < 2; ++line) {
            const int at = corner + line * width;
            A result[2];
            for (int k = 0; k < 2; ++k) {
                const A xh = plane.normal(tile[at + k]);
                result[k] = first.grad_x(rectify(plane.affine(xh), g), xh);
            }
            write_pair(grad_x + at, view.paired, result);
        }
    }
    for (int i = Team::rank(); i < rest; i += Team::kThreads) {
        const int at = rest_at(view.job, i);
        narrow(first.grad_x(A{}, plane.normal(widen(tile.global[at]))), grad_x[at]);
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
                const A xh = plane.normal(x[k]);
                mine.add(rectify(plane.affine(xh), g), xh, v[k]);
            }
        }
    }
    for (int i = Team::rank(); i < rest; i += Team::kThreads) {
        const int at = rest_at(view.job, i);
        mine.add(A{}, plane.normal(widen(tile.global[at])), widen(direction.global[at]));
    }
    A sums[5] = {mine.gy, mine.gy_xh, mine.v, mine.v_xh, mine.v_gy};
    Team::sum(sums);
    const int64_t at_weights = view.weights(index);
    const Second<A> second(plane, {sums[0], sums[1], sums[2], sums[3], sums[4]},
                           static_cast<const A*>(view.job.u)[at_weights],
                           static_cast<const A*>(view.job.z)[at_weights], A{1} / static_cast<A>(view.size));
    if (Team::rank() == 0) view.put(view.job.part_w, index, second.grad_weight(static_cast<A>(view.size)));
    for (int o = Team::rank(); o < pooled; o += Team::kThreads) {
        const A g = widen(grad[o]) * A{0.25};
        const int corner = window_at(view.job, o);
        A window{};
        for (int line = 0; line < 2; ++line) {
            const int at = corner + line * width;
            A result[2];
            for (int k = 0; k < 2; ++k) {
                const A xh = plane.normal(tile[at + k]), y = plane.affine(xh), v = direction[at + k];
                result[k] = second.grad_x(rectify(y, g), v, xh);
                window += rectify(y, second.grad_grad(v, xh));
            }
            write_pair(grad_x + at, view.paired, result);
        }
        narrow(window * A{0.25}, grad_grad[o]);
    }
    for (int i = Team::rank(); i < rest; i += Team::kThreads) {
        const int at = rest_at(view.job, i);
        const A xh = plane.normal(widen(tile.global[at]));
        narrow(second.grad_x(A{}, widen(direction.global[at]), xh), grad_x[at]);
    }
}

// ---- NHWC: threadIdx.x a channel of the strip, threadIdx.y every so manieth pixel or window ----

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
            const A y = plane.affine(plane.normal(widen(x[pixel * channels])));
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
            const A xh = plane.normal(widen(x[pixel * channels])), gy = rectify(plane.affine(xh), g);
            sums[0] += gy;
            sums[1] += gy * xh;
        }
    }
    sum_lines(sums);
    if (place.idle) return;
    if (threadIdx.y == 0) {
        view.put(view.job.part_b, place.plane, sums[0]);
        view.put(view.job.part_w, place.plane, sums[1]);
    }
    const First<A> first(plane, sums[0], sums[1], A{1} / static_cast<A>(view.size));
    for (int o = threadIdx.y; o < pooled; o += kLines) {
        const A g = widen(grad[o * channels]) * A{0.25};
        const int corner = window_at(view.job, o);
        for (int k = 0; k < 4; ++k) {
            const int64_t pixel = corner + (k & 1) + (k >> 1) * width;
            const A xh = plane.normal(widen(x[pixel * channels]));
            narrow(first.grad_x(rectify(plane.affine(xh), g), xh), grad_x[pixel * channels]);
        }
    }
    for (int i = threadIdx.y; i < rest; i += kLines) {
        const int64_t at = rest_at(view.job, i) * channels;
        narrow(first.grad_x(A{}, plane.normal(widen(x[at]))), grad_x[at]);
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
            const A xh = plane.normal(widen(x[at]));
            mine.add(rectify(plane.affine(xh), g), xh, widen(v[at]));
        }
    }
    for (int i = threadIdx.y; i < rest; i += kLines) {
        const int64_t at = rest_at(view.job, i) * channels;
        mine.add(A{}, plane.normal(widen(x[at])), widen(v[at]));
    }
    A sums[5] = {mine.gy, mine.gy_xh, mine.v, mine.v_xh, mine.v_gy};
    sum_lines(sums);
    if (place.idle) return;
    const int64_t at_weights = view.weights(place.plane);
    const Second<A> second(plane, {sums[0], sums[1], sums[2], sums[3], sums[4]},
                           static_cast<const A*>(view.job.u)[at_weights],
                           static_cast<const A*>(view.job.z)[at_weights], A{1} / static_cast<A>(view.size));
    if (threadIdx.y == 0)
        view.put(view.job.part_w, place.plane, second.grad_weight(static_cast<A>(view.size)));
    for (int o = threadIdx.y; o < pooled; o += kLines) {
        const A g = widen(grad[o * channels]) * A{0.25};
        const int corner = window_at(view.job, o);
        A window{};
        for (int k = 0; k < 4; ++k) {
            const int64_t at = (corner + (k & 1) + (k >> 1) * width) * channels;
            const A xh = plane.normal(widen(x[at])), y = plane.affine(xh), direction = widen(v[at]);
            narrow(second.grad_x(rectify(y, g), direction, xh), grad_x[at]);
            window += rectify(y, second.grad_grad(direction, xh));
        }
        narrow(window * A{0.25}, grad_grad[o * channels]);
    }
    for (int i = threadIdx.y; i < rest; i += kLines) {
        const int64_t at = rest_at(view.job, i) * channels;
        narrow(second.grad_x(A{}, widen(v[at]), plane.normal(widen(x[at]))), grad_x[at]);
    }
}

// ---- host ----

template <class S>
bool aligned(const void* p) {
    return reinterpret_cast<uintptr_t>(p) % (2 * sizeof(S)) == 0;
}

// The kernels of one operator for one storage type.
template <class S>
struct Kernels {
    void (*warp)(View<S>, int64_t, int, bool);
    void (*block)(View<S>, int64_t, int, bool);
    void (*strips)(View<S>);
    int tiles;  // planes kept in shared memory
};

constexpr int kTeams = 4, kBlock = 256, kWarpPlane = 1024;
constexpr size_t kSharedLimit = 96 << 10;  // two blocks a multiprocessor on sm_90, one on sm_80

template <class S>
void start(const Job& job, const Tensor& x, const Kernels<S>& kernels) {
    const Device device(x);
    const int64_t size = job.height * job.width, planes = job.rows * job.channels;
    STD_TORCH_CHECK(size < (int64_t{1} << 30), "norm_relu_pool: a plane of ", size, " pixels is too large");
    const bool paired =
        job.width % 2 == 0 && aligned<S>(job.x) && aligned<S>(job.v) && aligned<S>(job.grad_x);
    const View<S> view{job, size, (job.height / 2) * (job.width / 2), paired};
    if (job.channels_last) {
        const int64_t blocks = job.rows * ((job.channels + kStrip - 1) / kStrip);
        launch(kernels.strips, dim3(static_cast<unsigned>(blocks)), dim3(kStrip, kLines), 0,
               device.stream(), view);
        return;
    }
    const int teams = size <= kWarpPlane ? kTeams : 1;
    const size_t wanted = static_cast<size_t>(size) * kernels.tiles * teams * sizeof(acc_t<S>);
    const bool kept = wanted <= kSharedLimit;
    const dim3 grid(static_cast<unsigned>((planes + teams - 1) / teams));
    launch(teams > 1 ? kernels.warp : kernels.block, grid, dim3(teams > 1 ? kTeams * kWarp : kBlock),
           kept ? wanted : 0, device.stream(), view, planes, teams, kept);
}

#define PD_OPERATOR(name, tiles)                                                                      \
    static void name(const Job& job, const Tensor& x) {                                               \
        if (job.storage == Storage::f32)                                                              \
            start<float>(job, x,                                                                      \
                         {name##_planes<float, WarpTeam>, name##_planes<float, BlockTeam<kBlock>>,    \
                          name##_strips<float>, tiles});                                              \
        else if (job.storage == Storage::f64)                                                         \
            start<double>(job, x,                                                                     \
                          {name##_planes<double, WarpTeam>, name##_planes<double, BlockTeam<kBlock>>, \
                           name##_strips<double>, tiles});                                            \
        else                                                                                          \
            start<bf16>(job, x,                                                                       \
                        {name##_planes<bf16, WarpTeam>, name##_planes<bf16, BlockTeam<kBlock>>,       \
                         name##_strips<bf16>, tiles});                                                \
    }

struct Backend {
    static Tensor output(std::initializer_list<int64_t> shape, const Tensor& like, Order order) {
        return empty(shape, like, order);
    }
    static Tensor sum_images(const Tensor& parts, int64_t groups) {
        return cuda::sum_images(parts, groups);
    }

    PD_OPERATOR(forward, 1)
    PD_OPERATOR(backward, 1)
    PD_OPERATOR(double_backward, 2)
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(pydistill, PD_DEVICE_KEY, m) { norm_relu_pool::Operators<Backend>::implement(m); }

}  // namespace pydistill::cuda
