// What the CUDA kernels of norm_relu_pool share: typed pointers, windows, pixels that no window reaches.
#pragma once

#include "../common/bf16.h"
#include "../common/norm_relu_pool.h"
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

}  // namespace
}  // namespace pydistill::cuda
