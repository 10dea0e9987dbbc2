// gram on CUDA: which kernel runs, on how many tiles.
#include "../common/gram_ops.h"
#include "gram_tiles.h"

namespace pydistill::cuda {
namespace {

int64_t tiles(int64_t length) { return (length + kTile - 1) / kTile; }

dim3 grid_of(int64_t blocks) {
    STD_TORCH_CHECK(blocks < (int64_t{1} << 31), "gram: ", blocks,
                    " blocks are more than a launch can have");
    return dim3(static_cast<unsigned>(blocks));
}

struct Backend {
    static Tensor output(std::initializer_list<int64_t> shape, const Tensor& like) {
        return empty(shape, like);
    }
    static Tensor sum_images(const Tensor& parts, int64_t groups) {
        return cuda::sum_images(parts, groups);
    }
    static std::pair<int64_t, int64_t> parts(const Job& job) {
        return {tiles(job.columns), tiles(job.rows)};
    }

    template <int Order>
    static void run(const Job& job, const Tensor& s) {
        job.wide ? run_as<Order, double>(job, s) : run_as<Order, float>(job, s);
    }

    static void squares(const Tensor& x, Tensor& result) {
        x.scalar_type() == ScalarType::Double ? squares_as<double>(x, result)
                                              : squares_as<float>(x, result);
    }

  private:
    template <int Order, class A>
    static void run_as(const Job& job, const Tensor& s) {
        using Kernel = void (*)(Job, Profile<A>, int64_t, int64_t);
        const Kernel kernels[kKinds] = {
            tile_kernel<Order, A, Polynomial>, tile_kernel<Order, A, Rbf>,
            tile_kernel<Order, A, Laplacian>,  tile_kernel<Order, A, InverseMultiquadric>,
            tile_kernel<Order, A, Nngp>,       tile_kernel<Order, A, Ntk>,
            tile_kernel<Order, A, BiasedNngp>, tile_kernel<Order, A, BiasedNtk>};
        const Device device(s);
        const auto [across, down] = parts(job);
        launch(kernels[static_cast<int>(job.kind)], grid_of(job.batch * across * down),
               dim3(kTile, kTileWarps), 0, device.stream(), job, Profile<A>(job), across, down);
    }

    template <class A>
    static void squares_as(const Tensor& x, Tensor& result) {
        const Device device(x);
        const int64_t rows = result.numel();
        launch(squares_kernel<A>, grid_of((rows + kTileWarps - 1) / kTileWarps), dim3(kTile, kTileWarps), 0,
               device.stream(), static_cast<const A*>(x.const_data_ptr()),
               static_cast<A*>(result.mutable_data_ptr()), rows, x.size(2));
    }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(pydistill, PD_DEVICE_KEY, m) { gram::Operators<Backend>::implement(m); }

}  // namespace pydistill::cuda
