// Host side of siamese_augment, the same for both backends: checks, memory order, outputs.
#pragma once

#include "siamese_augment.h"
#include "tensors.h"

namespace pydistill::siamese_augment {

// Backend offers, all static: output(shape, like, order), a tensor to fill; check(job), what it can find
// wrong with rows before it starts; forward and backward(job, x), which run a kernel.
template <class Backend>
struct Operators {
    static Tensor forward(Tensor images, Tensor values, Tensor rows, bool constant) {
        return run("siamese_augment", images, values, rows, order_of(images), constant, Backend::forward);
    }

    static Tensor backward(Tensor grad, Tensor values, Tensor rows, bool channels_last) {
        const char* op = "siamese_augment_backward";
        const Order order = channels_last ? Order::nhwc : Order::nchw;
        return run(op, grad, values, rows, order, false, Backend::backward);
    }

    static void implement(torch::stable::detail::StableLibrary& library) {
        library.impl("siamese_augment", TORCH_BOX(&forward));
        library.impl("siamese_augment_backward", TORCH_BOX(&backward));
    }

  private:
    static Tensor run(const char* op, Tensor x, Tensor values, Tensor rows, Order order, bool constant,
                      void (*kernel)(const Job&, const Tensor&)) {
        statistic_dtype(op, x);
        STD_TORCH_CHECK(x.dim() == 4, op, ": images must be (N, C, H, W), found ", x.dim(), " dimensions");
        STD_TORCH_CHECK(x.size(1) >= 1 && x.size(2) >= 1 && x.size(3) >= 1, op,
                        ": images must have at least one channel and one pixel");
        STD_TORCH_CHECK(x.size(2) * x.size(3) < (int64_t{1} << 28), op, ": images of ", x.size(2), "x",
                        x.size(3), " pixels are too large");
        STD_TORCH_CHECK(values.dim() == 2 && values.size(1) == kColumns &&
                            values.scalar_type() == ScalarType::Float && values.device() == x.device(),
                        op, ": values must be (G, 13) float32 on the images' device");
        STD_TORCH_CHECK(rows.dim() == 1 && rows.size(0) == x.size(0) &&
                            rows.scalar_type() == ScalarType::Long && rows.device() == x.device(),
                        op, ": rows must be (N) int64 on the images' device");
        x = dense(x, order), values = dense(values), rows = dense(rows);
        Job job{};
        job.storage = x.scalar_type() == ScalarType::Float    ? Storage::f32
                      : x.scalar_type() == ScalarType::Double ? Storage::f64
                                                              : Storage::b16;
        job.channels_last = order == Order::nhwc;
        job.constant = constant;
        job.count = x.size(0), job.channels = x.size(1), job.height = x.size(2), job.width = x.size(3);
        job.groups = values.size(0);
        job.x = x.const_data_ptr();
        job.values = static_cast<const float*>(values.const_data_ptr());
        job.rows = static_cast<const int64_t*>(rows.const_data_ptr());
        Backend::check(op, job);
        Tensor out = Backend::output({job.count, job.channels, job.height, job.width}, x, order);
        job.out = out.mutable_data_ptr();
        if (job.count > 0) kernel(job, x);
        return out;
    }
};

}  // namespace pydistill::siamese_augment
