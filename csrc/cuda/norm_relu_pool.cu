// norm_relu_pool on CUDA: which kernel runs, with how many threads and how much shared memory.
#include "../common/norm_relu_pool_ops.h"
#include "norm_relu_pool_planes.h"
#include "norm_relu_pool_strips.h"

namespace pydistill::cuda {
namespace {

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
