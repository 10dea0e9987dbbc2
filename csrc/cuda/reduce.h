// Sums over a team of threads that work on one plane: a warp, or a whole block. Always in the same order.
#pragma once

#include "launch.h"

namespace pydistill::cuda {

constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int kWarp = 32;

template <class A>
__device__ __forceinline__ A warp_sum(A value) {
    for (int distance = kWarp / 2; distance > 0; distance /= 2)
        value += __shfl_xor_sync(kAllLanes, value, distance);
    return value;
}

// One warp a plane; several such teams stand side by side in a block.
struct WarpTeam {
    static constexpr int kThreads = kWarp;
    __device__ static int rank() { return static_cast<int>(threadIdx.x) % kWarp; }
    __device__ static int team() { return static_cast<int>(threadIdx.x) / kWarp; }
    __device__ static void sync() { __syncwarp(); }

    template <class A, int N>
    __device__ static void sum(A (&values)[N]) {
        for (int i = 0; i < N; ++i) values[i] = warp_sum(values[i]);
    }
};

// A whole block a plane.
template <int Threads>
struct BlockTeam {
    static constexpr int kThreads = Threads;
    __device__ static int rank() { return static_cast<int>(threadIdx.x); }
    __device__ static int team() { return 0; }
    __device__ static void sync() { __syncthreads(); }

    template <class A, int N>
    __device__ static void sum(A (&values)[N]) {
        constexpr int kWarps = Threads / kWarp;
        PD_SHARED(A, parts, kWarps * N);
        const int warp = rank() / kWarp;
        for (int i = 0; i < N; ++i) {
            const A part = warp_sum(values[i]);
            if (rank() % kWarp == 0) parts[warp * N + i] = part;
        }
        __syncthreads();
        for (int i = 0; i < N; ++i) {
            A total = parts[i];
            for (int w = 1; w < kWarps; ++w) total += parts[w * N + i];
            values[i] = total;
        }
        __syncthreads();  // before the next sum writes to `parts`
    }
};

template <class A>
__global__ void sum_images_kernel(const A* parts, A* sums, int64_t each, int64_t channels, int64_t count) {
    const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (index >= count) return;
    const int64_t group = index / channels, channel = index % channels;
    double sum = 0;
    for (int64_t n = 0; n < each; ++n)
        sum += static_cast<double>(parts[(group * each + n) * channels + channel]);
    sums[index] = static_cast<A>(sum);
}

// (R, C) to (G, C): the sum over each group's R/G images, in their order.
inline Tensor sum_images(const Tensor& parts, int64_t groups) {
    const Device device(parts);
    const int64_t rows = parts.size(0), channels = parts.size(1), count = groups * channels;
    Tensor sums = empty({groups, channels}, parts);
    constexpr int kThreads = 64;
    const dim3 grid(static_cast<unsigned>((count + kThreads - 1) / kThreads));
    if (parts.scalar_type() == ScalarType::Double)
        launch(sum_images_kernel<double>, grid, dim3(kThreads), 0, device.stream(),
               static_cast<const double*>(parts.const_data_ptr()),
               static_cast<double*>(sums.mutable_data_ptr()), rows / groups, channels, count);
    else
        launch(sum_images_kernel<float>, grid, dim3(kThreads), 0, device.stream(),
               static_cast<const float*>(parts.const_data_ptr()),
               static_cast<float*>(sums.mutable_data_ptr()), rows / groups, channels, count);
    return sums;
}

}  // namespace pydistill::cuda
