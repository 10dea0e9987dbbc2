// What both backends ask of the arguments of norm_relu_pool's operators. Callers come through the checked
// Python function; these guard the raw operators against reading outside memory.
#pragma once

#include "tensors.h"

namespace pydistill {

inline void check_norm_relu_pool(const char* op, const Tensor& x, const Tensor& weight,
                                 const Tensor& bias) {
    const ScalarType sums = statistic_dtype(op, x);
    STD_TORCH_CHECK(x.size(2) >= 2 && x.size(3) >= 2, op, ": height and width must be at least 2");
    STD_TORCH_CHECK(weight.dim() == 2 && weight.size(0) >= 1 && x.size(0) % weight.size(0) == 0, op,
                    ": weight must be (G, C) with G a divisor of the number of images");
    expect_shape(op, "weight", weight, {weight.size(0), x.size(1)});
    expect_shape(op, "bias", bias, {weight.size(0), x.size(1)});
    expect_dtype(op, "weight", weight, sums);
    expect_dtype(op, "bias", bias, sums);
}

inline void check_norm_relu_pool_saved(const char* op, const Tensor& x, const Tensor& weight,
                                       const Tensor& grad, const Tensor& mean, const Tensor& rstd) {
    expect_shape(op, "grad", grad, {x.size(0), x.size(1), x.size(2) / 2, x.size(3) / 2});
    expect_dtype(op, "grad", grad, x.scalar_type());
    expect_shape(op, "mean", mean, {x.size(0), x.size(1)});
    expect_shape(op, "rstd", rstd, {x.size(0), x.size(1)});
    expect_dtype(op, "mean", mean, weight.scalar_type());
    expect_dtype(op, "rstd", rstd, weight.scalar_type());
}

inline void check_norm_relu_pool_directions(const char* op, const Tensor& x, const Tensor& weight,
                                            const Tensor& ggx, const Tensor& ggw, const Tensor& ggb) {
    expect_shape(op, "ggx", ggx, {x.size(0), x.size(1), x.size(2), x.size(3)});
    expect_dtype(op, "ggx", ggx, x.scalar_type());
    expect_shape(op, "ggw", ggw, {weight.size(0), weight.size(1)});
    expect_shape(op, "ggb", ggb, {weight.size(0), weight.size(1)});
    expect_dtype(op, "ggw", ggw, weight.scalar_type());
    expect_dtype(op, "ggb", ggb, weight.scalar_type());
}

}  // namespace pydistill
