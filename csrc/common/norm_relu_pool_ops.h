// Host side of norm_relu_pool, the same for both backends: checks, memory order, outputs.
//
// Callers come through the checked Python function; the checks here keep the raw operators from reading
// outside memory.
#pragma once

#include <tuple>

#include "norm_relu_pool.h"
#include "tensors.h"

namespace pydistill::norm_relu_pool {

// Backend offers, all static: output(shape, like, order), a tensor to fill; forward, backward and
// double_backward(job, x), which run a kernel; sum_images(parts, groups), (R, C) to (G, C).
template <class Backend>
struct Operators {
    using Three = std::tuple<Tensor, Tensor, Tensor>;

    static Three forward(Tensor x, Tensor weight, Tensor bias, double eps) {
        const char* op = "norm_relu_pool";
        const Order order = order_of(x);
        x = dense(x, order), weight = dense(weight), bias = dense(bias);
        Job job = describe(op, x, weight, bias, order);
        job.eps = eps;
        Tensor pooled = Backend::output({job.rows, job.channels, job.height / 2, job.width / 2}, x, order);
        Tensor mean = empty({job.rows, job.channels}, weight),
               rstd = empty({job.rows, job.channels}, weight);
        job.pooled = pooled.mutable_data_ptr();
        job.mean = mean.mutable_data_ptr(), job.rstd = rstd.mutable_data_ptr();
        if (job.rows > 0) Backend::forward(job, x);
        return {pooled, mean, rstd};
    }

    static Three backward(Tensor grad, Tensor x, Tensor weight, Tensor bias, Tensor mean, Tensor rstd) {
        const char* op = "norm_relu_pool_backward";
        const Order order = order_of(x);
        x = dense(x, order), weight = dense(weight), bias = dense(bias), mean = dense(mean),
        rstd = dense(rstd);
        Job job = describe(op, x, weight, bias, order);
        check_saved(op, x, weight, grad, mean, rstd);
        grad = dense(grad, order);
        job.grad = grad.const_data_ptr(), job.mean = mean.data_ptr(), job.rstd = rstd.data_ptr();
        Tensor grad_x = Backend::output({job.rows, job.channels, job.height, job.width}, x, order);
        Tensor part_w = empty({job.rows, job.channels}, weight),
               part_b = empty({job.rows, job.channels}, weight);
        job.grad_x = grad_x.mutable_data_ptr();
        job.part_w = part_w.mutable_data_ptr(), job.part_b = part_b.mutable_data_ptr();
        if (job.rows > 0) Backend::backward(job, x);
        return {grad_x, Backend::sum_images(part_w, job.groups), Backend::sum_images(part_b, job.groups)};
    }

    static Three double_backward(Tensor ggx, Tensor ggw, Tensor ggb, Tensor grad, Tensor x, Tensor weight,
                                 Tensor bias, Tensor mean, Tensor rstd) {
        const char* op = "norm_relu_pool_double_backward";
        const Order order = order_of(x);
        x = dense(x, order), weight = dense(weight), bias = dense(bias), mean = dense(mean),
        rstd = dense(rstd);
        Job job = describe(op, x, weight, bias, order);
        check_saved(op, x, weight, grad, mean, rstd);
        expect_like(op, "ggx", ggx, x, {job.rows, job.channels, job.height, job.width});
        expect_like(op, "ggw", ggw, weight, {job.groups, job.channels});
        expect_like(op, "ggb", ggb, weight, {job.groups, job.channels});
        grad = dense(grad, order), ggx = dense(ggx, order), ggw = dense(ggw), ggb = dense(ggb);
        job.grad = grad.const_data_ptr(), job.mean = mean.data_ptr(), job.rstd = rstd.data_ptr();
        job.v = ggx.const_data_ptr(), job.u = ggw.const_data_ptr(), job.z = ggb.const_data_ptr();
        Tensor grad_grad =
            Backend::output({job.rows, job.channels, job.height / 2, job.width / 2}, x, order);
        Tensor grad_x = Backend::output({job.rows, job.channels, job.height, job.width}, x, order);
        Tensor part_w = empty({job.rows, job.channels}, weight);
        job.pooled = grad_grad.mutable_data_ptr(), job.grad_x = grad_x.mutable_data_ptr();
        job.part_w = part_w.mutable_data_ptr();
        if (job.rows > 0) Backend::double_backward(job, x);
        return {grad_grad, grad_x, Backend::sum_images(part_w, job.groups)};
    }

    static void implement(torch::stable::detail::StableLibrary& library) {
        library.impl("norm_relu_pool", TORCH_BOX(&forward));
        library.impl("norm_relu_pool_backward", TORCH_BOX(&backward));
        library.impl("norm_relu_pool_double_backward", TORCH_BOX(&double_backward));
    }

  private:
    static Job describe(const char* op, const Tensor& x, const Tensor& weight, const Tensor& bias,
                        Order order) {
        const ScalarType sums = statistic_dtype(op, x);
        STD_TORCH_CHECK(x.size(2) >= 2 && x.size(3) >= 2, op, ": height and width must be at least 2");
        STD_TORCH_CHECK(weight.dim() == 2 && weight.size(0) >= 1 && x.size(0) % weight.size(0) == 0, op,
                        ": weight must be (G, C) with G a divisor of the number of images");
        expect_shape(op, "weight", weight, {weight.size(0), x.size(1)});
        expect_dtype(op, "weight", weight, sums);
        expect_like(op, "bias", bias, weight, {weight.size(0), x.size(1)});
        Job job{};
        job.storage = x.scalar_type() == ScalarType::Float    ? Storage::f32
                      : x.scalar_type() == ScalarType::Double ? Storage::f64
                                                              : Storage::b16;
        job.channels_last = order == Order::nhwc;
        job.rows = x.size(0), job.channels = x.size(1), job.height = x.size(2), job.width = x.size(3);
        job.groups = weight.size(0);
        job.x = x.const_data_ptr();
        job.weight = weight.const_data_ptr(), job.bias = bias.const_data_ptr();
        return job;
    }

    static void check_saved(const char* op, const Tensor& x, const Tensor& weight, const Tensor& grad,
                            const Tensor& mean, const Tensor& rstd) {
        expect_like(op, "grad", grad, x, {x.size(0), x.size(1), x.size(2) / 2, x.size(3) / 2});
        expect_like(op, "mean", mean, weight, {x.size(0), x.size(1)});
        expect_like(op, "rstd", rstd, weight, {x.size(0), x.size(1)});
    }
};

}  // namespace pydistill::norm_relu_pool
