// Host side of mmd, the same for both backends: checks and outputs.
//
// Callers come through the checked Python function; the checks here keep the raw operators from reading
// outside memory. A gradient that is not wanted is (B, 0, D).
#pragma once

#include <tuple>

#include "mmd.h"
#include "tensors.h"

namespace pydistill::mmd {

// Backend offers, all static: output(shape, like), a tensor to fill; run(job, like), which fills value and
// gradients; scale(values, by, to), which multiplies (B, n, D) by (B,).
template <class Backend>
struct Operators {
    using Two = std::tuple<Tensor, Tensor>;
    using Three = std::tuple<Tensor, Tensor, Tensor>;

    static Three forward(Tensor x, Tensor y, Tensor weights, bool unbiased, bool want_x, bool want_y) {
        x = dense(x), y = dense(y), weights = dense(weights);
        Job job = describe("mmd", x, y, weights, unbiased);
        return run(job, x, y, want_x, want_y);
    }

    static Two backward(Tensor grad, Tensor x, Tensor y, Tensor weights, Tensor unit_x, Tensor unit_y,
                        bool unbiased, bool want_x, bool want_y) {
        const char* op = "mmd_backward";
        x = dense(x), y = dense(y), weights = dense(weights), grad = dense(grad);
        unit_x = dense(unit_x), unit_y = dense(unit_y);
        Job job = describe(op, x, y, weights, unbiased);
        expect(op, "grad", grad, x, {job.batch});
        const bool has_x = given(op, "unit_x", unit_x, x), has_y = given(op, "unit_y", unit_y, y);
        if ((want_x && !has_x) || (want_y && !has_y)) {
            const auto [value, made_x, made_y] = run(job, x, y, want_x && !has_x, want_y && !has_y);
            if (!has_x) unit_x = made_x;
            if (!has_y) unit_y = made_y;
        }
        Tensor grad_x = wanted(x, want_x), grad_y = wanted(y, want_y);
        if (grad_x.numel() > 0) Backend::scale(unit_x, grad, grad_x);
        if (grad_y.numel() > 0) Backend::scale(unit_y, grad, grad_y);
        return {grad_x, grad_y};
    }

    static Three double_backward(Tensor ggx, Tensor ggy, Tensor grad, Tensor x, Tensor y, Tensor weights,
                                 bool unbiased, bool want_x, bool want_y) {
        const char* op = "mmd_double_backward";
        x = dense(x), y = dense(y), weights = dense(weights), grad = dense(grad);
        ggx = dense(ggx), ggy = dense(ggy);
        Job job = describe(op, x, y, weights, unbiased);
        expect(op, "grad", grad, x, {job.batch});
        job.second = true, job.upstream = grad.const_data_ptr();
        if (given(op, "ggx", ggx, x)) job.directions[0] = ggx.const_data_ptr();
        if (given(op, "ggy", ggy, y)) job.directions[1] = ggy.const_data_ptr();
        return run(job, x, y, want_x, want_y);
    }

    static void implement(torch::stable::detail::StableLibrary& library) {
        library.impl("mmd", TORCH_BOX(&forward));
        library.impl("mmd_backward", TORCH_BOX(&backward));
        library.impl("mmd_double_backward", TORCH_BOX(&double_backward));
    }

  private:
    static void expect(const char* op, const char* name, const Tensor& tensor, const Tensor& like,
                       std::initializer_list<int64_t> shape) {
        expect_shape(op, name, tensor, shape);
        STD_TORCH_CHECK(tensor.scalar_type() == like.scalar_type(), op, ": ", name, " must have x's dtype");
    }

    static Tensor wanted(const Tensor& set, bool want) {
        return Backend::output({set.size(0), want ? set.size(1) : 0, set.size(2)}, set);
    }

    // Whether a tensor of the set's shape is there, or the empty one in its place.
    static bool given(const char* op, const char* name, const Tensor& tensor, const Tensor& set) {
        const bool there = tensor.dim() != 3 || tensor.size(1) != 0;
        expect(op, name, tensor, set, {set.size(0), there ? set.size(1) : 0, set.size(2)});
        return there;
    }

    static Three run(Job& job, const Tensor& x, const Tensor& y, bool want_x, bool want_y) {
        Tensor value = Backend::output({job.batch}, x);
        Tensor grad_x = wanted(x, want_x), grad_y = wanted(y, want_y);
        job.value = value.mutable_data_ptr();
        job.gradients[0] = want_x ? grad_x.mutable_data_ptr() : nullptr;
        job.gradients[1] = want_y ? grad_y.mutable_data_ptr() : nullptr;
        if (job.batch > 0) Backend::run(job, x);
        return {value, grad_x, grad_y};
    }

    static Job describe(const char* op, const Tensor& x, const Tensor& y, const Tensor& weights,
                        bool unbiased) {
        const ScalarType dtype = x.scalar_type();
        STD_TORCH_CHECK(dtype == ScalarType::Float || dtype == ScalarType::Double, op,
                        ": x must be float32 or float64");
        STD_TORCH_CHECK(x.dim() == 3 && x.size(1) >= 1 && x.size(2) >= 1, op,
                        ": x must be (B, N, D), N and D at least 1");
        STD_TORCH_CHECK(y.dim() == 3 && y.size(1) >= 1, op, ": y must be (B, M, D), M at least 1");
        expect(op, "y", y, x, {x.size(0), y.size(1), x.size(2)});
        STD_TORCH_CHECK(weights.dim() == 2 && weights.size(1) >= 1, op,
                        ": weights must be (B, S), S at least 1");
        expect(op, "weights", weights, x, {x.size(0), weights.size(1)});
        STD_TORCH_CHECK(!unbiased || (x.size(1) >= 2 && y.size(1) >= 2), op,
                        ": unbiased needs two rows in each set");
        Job job{};
        job.doubles = dtype == ScalarType::Double, job.unbiased = unbiased;
        job.batch = x.size(0), job.counts[0] = x.size(1), job.counts[1] = y.size(1);
        job.features = x.size(2), job.bandwidths = weights.size(1);
        job.sets[0] = x.const_data_ptr(), job.sets[1] = y.const_data_ptr();
        job.weights = weights.const_data_ptr();
        return job;
    }
};

}  // namespace pydistill::mmd
