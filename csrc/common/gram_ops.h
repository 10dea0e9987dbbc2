// Host side of gram, the same for both backends: checks, outputs, strides.
//
// Callers come through the checked Python function; the checks here keep the raw operators from reading
// outside memory.
#pragma once

#include <tuple>
#include <vector>

#include "gram.h"
#include "tensors.h"

namespace pydistill::gram {

// Which kernel, and its numbers: as the raw operators take them.
struct Choice {
    int64_t kind, degree;
    double scale, offset;
    const std::vector<double>& bandwidths;
};

// Backend offers, all static: output(shape, like), a tensor to fill; parts(job), how many parts (row,
// column) the sums over columns and rows come in; run<Order>(job, s), which runs a kernel; squares(x,
// result); sum_images(parts, groups), (R, C) to (G, C).
template <class Backend>
struct Operators {
    using Three = std::tuple<Tensor, Tensor, Tensor>;
    using Four = std::tuple<Tensor, Tensor, Tensor, Tensor>;

    static Tensor squares(Tensor x) {
        check_dtype("gram_squares", x);
        STD_TORCH_CHECK(x.dim() == 3, "gram_squares: x must be (B, N, D), found ", x.dim(), " dimensions");
        x = dense(x);
        Tensor result = empty({x.size(0), x.size(1)}, x);
        if (result.numel() > 0) Backend::squares(x, result);
        return result;
    }

    static Tensor forward(Tensor s, Tensor qx, Tensor qy, Tensor x, Tensor y, int64_t kind, int64_t degree,
                          double scale, double offset, std::vector<double> bandwidths) {
        Job job = describe("gram", s, qx, qy, x, y, {kind, degree, scale, offset, bandwidths});
        Tensor out = Backend::output({job.batch, job.rows, job.columns}, s);
        job.out = out.mutable_data_ptr();
        if (out.numel() > 0) Backend::template run<0>(job, s);
        return out;
    }

    static Three backward(Tensor grad, Tensor s, Tensor qx, Tensor qy, Tensor x, Tensor y, int64_t kind,
                          int64_t degree, double scale, double offset, std::vector<double> bandwidths) {
        Job job = describe("gram_backward", s, qx, qy, x, y, {kind, degree, scale, offset, bandwidths});
        set_grad("gram_backward", job, grad, s);
        Tensor grad_s = Backend::output({job.batch, job.rows, job.columns}, s);
        job.grad_s = grad_s.mutable_data_ptr();
        auto [grad_qx, grad_qy] = sums<1>(job, s, qx, qy);
        return {grad_s, grad_qx, grad_qy};
    }

    static Four double_backward(Tensor hs, Tensor hx, Tensor hy, Tensor grad, Tensor s, Tensor qx,
                                Tensor qy, Tensor x, Tensor y, int64_t kind, int64_t degree, double scale,
                                double offset, std::vector<double> bandwidths) {
        const char* op = "gram_double_backward";
        Job job = describe(op, s, qx, qy, x, y, {kind, degree, scale, offset, bandwidths});
        set_grad(op, job, grad, s);
        expect_like(op, "hs", hs, s, {job.batch, job.rows, job.columns});
        expect_like(op, "hx", hx, s, {job.batch, job.rows});
        expect_like(op, "hy", hy, s, {job.batch, job.columns});
        hs = dense(hs), hx = dense(hx), hy = dense(hy);
        job.hs = hs.const_data_ptr(), job.hx = hx.const_data_ptr(), job.hy = hy.const_data_ptr();
        Tensor out = Backend::output({job.batch, job.rows, job.columns}, s);
        Tensor grad_s = Backend::output({job.batch, job.rows, job.columns}, s);
        job.out = out.mutable_data_ptr(), job.grad_s = grad_s.mutable_data_ptr();
        auto [grad_qx, grad_qy] = sums<2>(job, s, qx, qy);
        return {out, grad_s, grad_qx, grad_qy};
    }

    static void implement(torch::stable::detail::StableLibrary& library) {
        library.impl("gram_squares", TORCH_BOX(&squares));
        library.impl("gram", TORCH_BOX(&forward));
        library.impl("gram_backward", TORCH_BOX(&backward));
        library.impl("gram_double_backward", TORCH_BOX(&double_backward));
    }

  private:
    static void check_dtype(const char* op, const Tensor& tensor) {
        STD_TORCH_CHECK(
            tensor.scalar_type() == ScalarType::Float || tensor.scalar_type() == ScalarType::Double, op,
            ": tensors must be float32 or float64");
    }

    // Makes the tensors dense in place: the job points into them.
    static Job describe(const char* op, Tensor& s, Tensor& qx, Tensor& qy, Tensor& x, Tensor& y,
                        const Choice& choice) {
        check_dtype(op, s);
        STD_TORCH_CHECK(s.dim() == 3 && x.dim() == 3, op, ": s must be (B, N, M) and x (B, N, D)");
        Job job{};
        job.wide = s.scalar_type() == ScalarType::Double;
        job.batch = s.size(0), job.rows = s.size(1), job.columns = s.size(2), job.features = x.size(2);
        expect_like(op, "qx", qx, s, {job.batch, job.rows});
        expect_like(op, "qy", qy, s, {job.batch, job.columns});
        expect_like(op, "x", x, s, {job.batch, job.rows, job.features});
        expect_like(op, "y", y, s, {job.batch, job.columns, job.features});
        s = dense(s), qx = dense(qx), qy = dense(qy), x = dense(x), y = dense(y);
        job.s = s.const_data_ptr(), job.qx = qx.const_data_ptr(), job.qy = qy.const_data_ptr();
        job.x = x.const_data_ptr(), job.y = y.const_data_ptr();
        STD_TORCH_CHECK(choice.kind >= 0 && choice.kind < kKinds, op, ": no kernel has the number ",
                        choice.kind);
        STD_TORCH_CHECK(choice.degree >= 1 && choice.degree < (1 << 20), op, ": degree must be at least 1");
        STD_TORCH_CHECK(choice.bandwidths.size() <= kMostBandwidths, op, ": at most ", kMostBandwidths,
                        " bandwidths");
        job.kind = static_cast<Kind>(choice.kind), job.degree = static_cast<int>(choice.degree);
        job.scale = choice.scale, job.offset = choice.offset;
        for (const double width : choice.bandwidths) job.bandwidths[job.count++] = width;
        return job;
    }

    // The gradient of a sum is one number under strides of 0: it is read as it is.
    static void set_grad(const char* op, Job& job, Tensor& grad, const Tensor& s) {
        expect_like(op, "grad", grad, s, {job.batch, job.rows, job.columns});
        if (grad.stride(2) != 0 && (grad.stride(2) != 1 || grad.stride(1) == 0)) grad = dense(grad);
        job.grad = grad.const_data_ptr();
        job.grad_batch = grad.stride(0), job.grad_row = grad.stride(1), job.grad_column = grad.stride(2);
    }

    // Runs the kernel, then adds up what its parts of the matrix add to the gradients of qx and qy.
    template <int Order>
    static std::pair<Tensor, Tensor> sums(Job& job, const Tensor& s, const Tensor& qx, const Tensor& qy) {
        if (s.numel() == 0) return {zeros_like(qx), zeros_like(qy)};
        const auto [across, down] = Backend::parts(job);
        Tensor row = empty({job.batch * across, job.rows}, s);
        Tensor column = empty({job.batch * down, job.columns}, s);
        job.row_parts = row.mutable_data_ptr(), job.column_parts = column.mutable_data_ptr();
        Backend::template run<Order>(job, s);
        return {Backend::sum_images(row, job.batch), Backend::sum_images(column, job.batch)};
    }

    static Tensor zeros_like(const Tensor& like) {
        Tensor result = empty({like.size(0), like.size(1)}, like);
        return torch::stable::zero_(result);
    }
};

}  // namespace pydistill::gram
