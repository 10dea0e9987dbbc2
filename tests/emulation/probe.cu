// Small kernels, right and wrong, that test the emulation itself. Not an operator of the library.
#include "launch.h"
#include "reduce.h"

#include <algorithm>

namespace {

using namespace pydistill::cuda;
using pydistill::Tensor;

__global__ void sum_kernel(const float* x, float* out, int size) {
    float sum[1]{};
    for (int i = threadIdx.x; i < size; i += blockDim.x) sum[0] += x[i];
    BlockTeam<128>::sum(sum);
    if (threadIdx.x == 0) *out = sum[0];
}

// A sum by halves through dynamic shared memory.
__global__ void halves_kernel(const float* x, float* out, int) {
    PD_SHARED_DYNAMIC(float, shared);
    shared[threadIdx.x] = x[threadIdx.x];
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
    }
    if (threadIdx.x == 0) *out = shared[0];
}

// Its neighbour's value, without the barrier that makes it visible.
__global__ void race_kernel(const float* x, float* out, int size) {
    PD_SHARED_DYNAMIC(float, shared);
    shared[threadIdx.x] = x[threadIdx.x];
    out[threadIdx.x] = shared[(threadIdx.x + 1) % size];
}

__global__ void half_barrier_kernel(const float*, float*, int) {
    if (threadIdx.x < blockDim.x / 2) __syncthreads();
}

__global__ void lost_lane_kernel(const float* x, float* out, int) {
    if (threadIdx.x % 32 != 7) out[0] = warp_sum(x[threadIdx.x]);
}

__global__ void two_masks_kernel(const float* x, float* out, int) {
    out[0] = __shfl_sync(threadIdx.x % 2 ? 0xffffffffu : 0x55555555u, x[0], 0);
}

__global__ void outside_kernel(const float* x, float*, int size) {
    PD_SHARED_DYNAMIC(float, shared);
    shared[threadIdx.x + (static_cast<int>(threadIdx.x) == size - 1)] = x[threadIdx.x];
}

__global__ void unset_kernel(const float*, float* out, int) {
    PD_SHARED(float, shared, 32);
    out[threadIdx.x] = shared[threadIdx.x % 32];
}

// Ballot, any, all, up, down, broadcast and an atomic sum, each in its place of `out`.
__global__ void collectives_kernel(const float* x, float* out, int) {
    constexpr unsigned all = 0xffffffffu;
    const int lane = threadIdx.x % 32;
    const unsigned odd = __ballot_sync(all, lane % 2);
    const int any = __any_sync(all, lane == 3), every = __all_sync(all, lane != 3);
    const float up = __shfl_up_sync(all, x[lane], 1), down = __shfl_down_sync(all, x[lane], 1);
    const float third = __shfl_sync(all, x[lane], 3);
    if (lane == 5) {
        out[0] = static_cast<float>(odd == 0xaaaaaaaau), out[1] = static_cast<float>(any);
        out[2] = static_cast<float>(every), out[3] = up, out[4] = down, out[5] = third;
    }
    atomicAdd(&out[6], 1.0f);
}

__global__ void indices_kernel(const float*, float* out, int) {
    const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    out[block * blockDim.x * blockDim.y * blockDim.z + thread] += 1;
}

using Kernel = void (*)(const float*, float*, int);
constexpr Kernel kKernels[] = {sum_kernel,         halves_kernel,    race_kernel,    half_barrier_kernel,
                               lost_lane_kernel,   two_masks_kernel, outside_kernel, unset_kernel,
                               collectives_kernel, indices_kernel};

// Runs kernel number `which` on x with `threads` threads; the result holds `size` values, zero at first.
Tensor probe(Tensor x, int64_t which, int64_t threads, int64_t size) {
    Tensor out = torch::stable::new_zeros(x, {&size, 1});
    const bool indices = which == 9;
    launch(kKernels[which], indices ? dim3(2, 3, 2) : dim3(1),
           indices ? dim3(4, 2, 2) : dim3(static_cast<unsigned>(threads)), threads * sizeof(float), nullptr,
           static_cast<const float*>(x.const_data_ptr()), static_cast<float*>(out.mutable_data_ptr()),
           static_cast<int>(x.numel()));
    return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(pydistill_probe, PD_DEVICE_KEY, m) { m.impl("probe", TORCH_BOX(&probe)); }
