// Host side of gradient_distance, the same for both backends: checks and outputs.
//
// Callers come through the checked Python function; the checks here keep the raw operators from reading
// outside memory. A gradient that is not wanted is (B, 0). Offsets are looked at where they lie on the
// host.
#pragma once

#include <tuple>

#include "gradient_distance.h"
#include "tensors.h"

namespace pydistill::gradient_distance {

// Backend offers, all static: output(shape, like), a tensor to fill; check(op, job), what it can find wrong
// with offsets before it starts; first and second(job, like), which fill what a job wants.
template <class Backend>
struct Operators {
    using Two = std::tuple<Tensor, Tensor>;
    using Three = std::tuple<Tensor, Tensor, Tensor>;

    static Tensor forward(Tensor x, Tensor y, Tensor offsets, int64_t kind, double eps) {
        x = dense(x), y = dense(y), offsets = dense(offsets);
        Job job = describe("gradient_distance", x, y, offsets, kind, eps);
        Tensor value = Backend::output({job.batch, job.segments}, x);
        job.value = value.mutable_data_ptr();
        if (value.numel() > 0) Backend::first(job, x);
        return value;
    }

    static Two backward(Tensor grad, Tensor x, Tensor y, Tensor offsets, int64_t kind, double eps,
                        bool want_x, bool want_y) {
        const char* op = "gradient_distance_backward";
        x = dense(x), y = dense(y), offsets = dense(offsets), grad = dense(grad);
        Job job = describe(op, x, y, offsets, kind, eps);
        expect_like(op, "grad", grad, x, {job.batch, job.segments});
        job.grad = grad.const_data_ptr();
        const Tensor to_x = wanted(job, x, want_x, job.to_x), to_y = wanted(job, x, want_y, job.to_y);
        if (x.numel() > 0 && (want_x || want_y)) Backend::first(job, x);
        return {to_x, to_y};
    }

    static Three double_backward(Tensor u, Tensor v, Tensor grad, Tensor x, Tensor y, Tensor offsets,
                                 int64_t kind, double eps, bool want_x, bool want_y) {
        const char* op = "gradient_distance_double_backward";
        x = dense(x), y = dense(y), offsets = dense(offsets), grad = dense(grad), u = dense(u),
        v = dense(v);
        Job job = describe(op, x, y, offsets, kind, eps);
        expect_like(op, "grad", grad, x, {job.batch, job.segments});
        job.grad = grad.const_data_ptr();
        job.u = given(op, "ggx", u, x), job.v = given(op, "ggy", v, x);
        Tensor value = Backend::output({job.batch, job.segments}, x);
        job.value = value.mutable_data_ptr();
        const Tensor to_x = wanted(job, x, want_x, job.to_x), to_y = wanted(job, x, want_y, job.to_y);
        if (value.numel() > 0) Backend::second(job, x);
        return {value, to_x, to_y};
    }

    static void implement(torch::stable::detail::StableLibrary& library) {
        library.impl("gradient_distance", TORCH_BOX(&forward));
        library.impl("gradient_distance_backward", TORCH_BOX(&backward));
        library.impl("gradient_distance_double_backward", TORCH_BOX(&double_backward));
    }

  private:
    static Tensor wanted(const Job& job, const Tensor& x, bool want, void*& place) {
        Tensor made = Backend::output({job.batch, want ? job.length : 0}, x);
        place = want ? made.mutable_data_ptr() : nullptr;
        return made;
    }

    // A cotangent's memory; null for the empty tensor that stands for zeros.
    static const void* given(const char* op, const char* name, const Tensor& tensor, const Tensor& x) {
        const bool there = tensor.dim() != 2 || tensor.size(1) != 0 || x.size(1) == 0;
        expect_like(op, name, tensor, x, {x.size(0), there ? x.size(1) : 0});
        return there ? tensor.const_data_ptr() : nullptr;
    }

    static Job describe(const char* op, const Tensor& x, const Tensor& y, const Tensor& offsets,
                        int64_t kind, double eps) {
        const ScalarType dtype = x.scalar_type();
        STD_TORCH_CHECK(dtype == ScalarType::Float || dtype == ScalarType::Double, op,
                        ": x must be float32 or float64");
        STD_TORCH_CHECK(x.dim() == 2, op, ": x must be (B, P)");
        expect_like(op, "y", y, x, {x.size(0), x.size(1)});
        STD_TORCH_CHECK(offsets.dim() == 1 && offsets.size(0) >= 2 &&
                            offsets.scalar_type() == ScalarType::Long && offsets.device() == x.device(),
                        op, ": offsets must be (S + 1,) int64 on x's device, S at least 1");
        STD_TORCH_CHECK(kind >= 0 && kind <= 2, op, ": kind must be 0, 1 or 2");
        Job job{};
        job.doubles = dtype == ScalarType::Double, job.kind = static_cast<Kind>(kind), job.eps = eps;
        job.batch = x.size(0), job.length = x.size(1), job.segments = offsets.size(0) - 1;
        job.x = x.const_data_ptr(), job.y = y.const_data_ptr();
        job.offsets = static_cast<const int64_t*>(offsets.const_data_ptr());
        Backend::check(op, job);
        return job;
    }
};

}  // namespace pydistill::gradient_distance
