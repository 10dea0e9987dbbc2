// The one way a kernel is launched and shared memory is had. The tests compile the same .cu files against
// tests/emulation/emulation.h (PD_EMULATED), where a launch runs on the host; so a .cu file uses <<<>>> and
// __shared__ nowhere, and inline PTX only beside a plain twin.
#pragma once

#include "../common/tensors.h"

#if defined(PD_EMULATED)
#include "emulation.h"
#else

#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>

// The key in the dispatcher that the kernels are registered under.
#define PD_DEVICE_KEY CUDA

// `T name[size]`, shared by a block; and the dynamic part, as many bytes as the launch said.
#define PD_SHARED(T, name, size) __shared__ T name[size]
#define PD_SHARED_DYNAMIC(T, name)                                     \
    extern __shared__ __align__(16) unsigned char pd_dynamic_shared[]; \
    T* const name = reinterpret_cast<T*>(pd_dynamic_shared)

namespace pydistill::cuda {

// Makes x's device the current one for its lifetime, and knows the stream that torch uses there.
class Device {
  public:
    explicit Device(const Tensor& x) : guard_(x.get_device_index()) {
        void* stream = nullptr;
        STD_TORCH_CHECK(
            aoti_torch_get_current_cuda_stream(x.get_device_index(), &stream) == AOTI_TORCH_SUCCESS,
            "the current CUDA stream of device ", x.get_device_index(), " is not to be had");
        stream_ = static_cast<cudaStream_t>(stream);
    }
    cudaStream_t stream() const { return stream_; }

  private:
    torch::stable::accelerator::DeviceGuard guard_;
    cudaStream_t stream_;
};

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
            Arguments... arguments) {
    // A block gets 48 KiB without asking, what the kernel declares by itself included.
    constexpr size_t kWithoutAsking = 32 << 10;
    if (shared_bytes > kWithoutAsking) {
        const cudaError_t asked = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                       static_cast<int>(shared_bytes));
        STD_TORCH_CHECK(asked == cudaSuccess, "pydistill: ", cudaGetErrorString(asked));
    }
    cudaLaunchConfig_t config{};
    config.gridDim = grid, config.blockDim = block, config.dynamicSmemBytes = shared_bytes,
    config.stream = stream;
    const cudaError_t launched = cudaLaunchKernelEx(&config, kernel, arguments...);
    STD_TORCH_CHECK(launched == cudaSuccess,
                    "pydistill: a kernel did not start: ", cudaGetErrorString(launched));
}

}  // namespace pydistill::cuda

#endif
