// conv3x3 on the CPU: Winograd's convolution, its adjoint, and a plain one for few input channels.
#include "conv3x3.h"

#include "isa.h"

namespace pydistill::cpu::conv3x3 {

// How something is computed: in blocks that threads share out, after something is prepared or before
// something is finished in blocks of their own. Sizes are counted in floats.
struct Table {
    int wide;  // outputs of a block of prepared filters
    int64_t (*prepared)(const Job&);
    int64_t (*blocks)(const Job&);
    int64_t (*scratch)(const Job&);
    void (*prepare)(const Job&, int64_t begin, int64_t end);
    void (*convolve)(const Job&, int64_t begin, int64_t end, float* scratch);
};

struct AdjointTable {
    int64_t (*sums)(const Adjoint&);
    int64_t (*blocks)(const Adjoint&);
    int64_t (*scratch)(const Adjoint&);
    void (*sum)(const Adjoint&, int64_t begin, int64_t end, float* scratch);
    void (*finish)(const Adjoint&, int64_t begin, int64_t end);  // by input channels
};

struct Tables {
    Table maps, few_in, few_out;
    AdjointTable filters, few_in_filters;
};

}  // namespace pydistill::cpu::conv3x3

#ifdef PD_ISA
// ---- kernel part --------------------------------------------------------------------------------------
#include "conv3x3_filters.h"
#include "conv3x3_maps.h"
#include "conv3x3_narrow.h"

namespace pydistill::cpu::PD_ISA {

extern const conv3x3::Tables conv3x3_tables;
const conv3x3::Tables conv3x3_tables{
    {kWide<float>, maps_prepared, maps_blocks, maps_scratch, prepare_filters, convolve_maps},
    {kWide<float>, few_in_prepared, few_in_blocks, few_in_scratch, prepare_few_in, convolve_few_in},
    {conv3x3::kChannels, few_out_prepared, few_out_blocks, few_out_scratch, prepare_few_out,
     convolve_few_out},
    {filters_sums, filters_blocks, filters_scratch, sum_filters, finish_filters},
    {few_in_sums, few_in_chunks, few_in_sum_scratch, sum_few_in, finish_few_in}};

}  // namespace pydistill::cpu::PD_ISA

#else
// ---- host part ----------------------------------------------------------------------------------------
#include <memory>
#include <new>
#include <optional>
#include <tuple>

#include "parallel.h"
#include "pool.h"

PD_DECLARE_LEVELS(pydistill::cpu::conv3x3::Tables, conv3x3_tables)

namespace pydistill::cpu {
namespace {

using conv3x3::Adjoint;
using conv3x3::Filters;
using conv3x3::Job;
using conv3x3::kChannels;

struct Aligned {
    void operator()(float* data) const { operator delete[](data, std::align_val_t{64}); }
};
std::unique_ptr<float[], Aligned> scratch(int64_t size) {
    return std::unique_ptr<float[], Aligned>(new (std::align_val_t{64}) float[size]);
}

const float* data(const Tensor& tensor) { return static_cast<const float*>(tensor.const_data_ptr()); }

Filters filters_of(const Tensor& weight) {
    return {data(weight), weight.stride(0), weight.stride(1), weight.stride(2), weight.stride(3)};
}

// As the gradient of maps sees them: taps turned about, inputs and outputs exchanged.
Filters turned(const Tensor& weight) {
    const Filters f = filters_of(weight);
    return {f.first + 2 * f.row + 2 * f.column, f.in, f.out, -f.row, -f.column};
}

Tensor maps_of(const char* op, const Tensor& x, const Tensor& like, int64_t channels) {
    STD_TORCH_CHECK(x.scalar_type() == ScalarType::Float, op, ": tensors must be float32");
    expect_shape(op, "maps", x, {like.size(0), channels, like.size(2), like.size(3)});
    return dense(x, Order::nhwc);
}

void check_weight(const char* op, const Tensor& weight) {
    STD_TORCH_CHECK(weight.scalar_type() == ScalarType::Float, op, ": tensors must be float32");
    STD_TORCH_CHECK(weight.dim() == 4 && weight.size(2) == 3 && weight.size(3) == 3, op,
                    ": weight must be (O, I, 3, 3)");
    const int64_t out = weight.size(0), in = weight.size(1);
    STD_TORCH_CHECK(out > 0 && out % kChannels == 0, op, ": output channels must be a multiple of 16");
    STD_TORCH_CHECK(in > 0 && (in < kChannels || in % kChannels == 0), op,
                    ": input channels must be fewer than 16 or a multiple of it");
}

void run(Job job) {
    const conv3x3::Tables& tables = PD_TABLE(conv3x3_tables);
    const conv3x3::Table& table = job.in < kChannels    ? tables.few_in
                                  : job.out < kChannels ? tables.few_out
                                                        : tables.maps;
    const auto prepared = scratch(table.prepared(job));
    job.prepared = prepared.get();
    parallel((job.out + table.wide - 1) / table.wide, 9 * job.in * table.wide,
             [&](int64_t begin, int64_t end) { table.prepare(job, begin, end); });
    const int64_t blocks = table.blocks(job), all = job.images * job.height * job.width;
    parallel(blocks, all / blocks * (job.in + job.out), [&](int64_t begin, int64_t end) {
        const auto own = scratch(table.scratch(job));
        table.convolve(job, begin, end, own.get());
    });
}

void run(Adjoint job) {
    const conv3x3::Tables& tables = PD_TABLE(conv3x3_tables);
    const conv3x3::AdjointTable& table = job.in < kChannels ? tables.few_in_filters : tables.filters;
    const auto sums = scratch(table.sums(job));
    job.sums = sums.get();
    parallel(table.blocks(job), job.images * job.height * job.width * (job.in + job.out),
             [&](int64_t begin, int64_t end) {
                 const auto own = scratch(table.scratch(job));
                 table.sum(job, begin, end, own.get());
             });
    parallel(job.in, 9 * job.out, [&](int64_t begin, int64_t end) { table.finish(job, begin, end); });
}

Tensor forward(Tensor x, Tensor weight, std::optional<Tensor> bias, std::optional<Tensor> x2,
               std::optional<Tensor> weight2) {
    const char* op = "conv3x3";
    check_weight(op, weight);
    x = maps_of(op, x, x, weight.size(1));
    Job job{x.size(0),      x.size(2), x.size(3), weight.size(1),
            weight.size(0), 1,         {data(x)}, {filters_of(weight)},
            nullptr,        nullptr,   nullptr};
    if (bias) {
        expect_like(op, "bias", *bias, x, {job.out});
        bias = dense(*bias);
        job.bias = data(*bias);
    }
    STD_TORCH_CHECK(x2.has_value() == weight2.has_value(), op, ": a second pair needs both");
    if (x2) {
        check_weight(op, *weight2);
        expect_shape(op, "weight2", *weight2, {job.out, job.in, 3, 3});
        x2 = maps_of(op, *x2, x, job.in);
        job.pairs = 2, job.maps[1] = data(*x2), job.filters[1] = filters_of(*weight2);
    }
    Tensor y = output({job.images, job.out, job.height, job.width}, x, Order::nhwc);
    job.y = static_cast<float*>(y.mutable_data_ptr());
    if (y.numel() > 0) run(job);
    return y;
}

std::tuple<Tensor, Tensor> backward(Tensor grad, Tensor x, Tensor weight, bool want_x, bool want_w) {
    const char* op = "conv3x3_backward";
    check_weight(op, weight);
    x = maps_of(op, x, x, weight.size(1));
    grad = maps_of(op, grad, x, weight.size(0));
    const int64_t images = x.size(0), height = x.size(2), width = x.size(3);
    const int64_t in = weight.size(1), out = weight.size(0);
    Tensor grad_x = empty({0}, x), grad_w = empty({0}, x);
    if (want_x) {
        grad_x = output({images, in, height, width}, x, Order::nhwc);
        Job job{images,
                height,
                width,
                out,
                in,
                1,
                {data(grad)},
                {turned(weight)},
                nullptr,
                nullptr,
                static_cast<float*>(grad_x.mutable_data_ptr())};
        if (grad_x.numel() > 0) run(job);
    }
    if (want_w) {
        grad_w = empty({out, in, 3, 3}, weight, order_of(weight));
        if (x.numel() > 0)
            run(Adjoint{images, height, width, in, out,
                        static_cast<int64_t>(torch::stable::get_num_threads()), data(x), data(grad),
                        nullptr, static_cast<float*>(grad_w.mutable_data_ptr()), grad_w.stride(0),
                        grad_w.stride(1), grad_w.stride(2), grad_w.stride(3)});
        else
            torch::stable::zero_(grad_w);
    }
    return {grad_x, grad_w};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(pydistill, CPU, m) {
    m.impl("conv3x3", TORCH_BOX(&forward));
    m.impl("conv3x3_backward", TORCH_BOX(&backward));
}

}  // namespace pydistill::cpu

#endif
