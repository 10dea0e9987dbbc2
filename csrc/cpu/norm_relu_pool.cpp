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
#include "norm_relu_pool_blocks.h"
#include "norm_relu_pool_planes.h"

namespace pydistill::cpu::PD_ISA {
namespace {

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
#include "pool.h"

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
