// Tensors as the kernels of both backends see them: dense, in one of two orders, of one of three dtypes.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <initializer_list>
#include <utility>

namespace pydistill {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

enum class Order { nchw, nhwc };

// Whether x (R, C, H, W) lies in memory in this order without gaps; dimensions of size 1 do not count.
inline bool is_dense(const Tensor& x, Order order) {
    static constexpr int nchw[] = {3, 2, 1, 0}, nhwc[] = {1, 3, 2, 0};
    if (x.numel() == 0) return true;
    int64_t expected = 1;
    for (const int dim : order == Order::nchw ? nchw : nhwc) {
        if (x.size(dim) == 1) continue;
        if (x.stride(dim) != expected) return false;
        expected *= x.size(dim);
    }
    return true;
}

// The order that an operator works and answers in; `_format` in pydistill/ops/_layout.py says the same.
inline Order order_of(const Tensor& x) {
    STD_TORCH_CHECK(x.dim() == 4, "images must be (R, C, H, W), found ", x.dim(), " dimensions");
    if (is_dense(x, Order::nchw)) return Order::nchw;
    return is_dense(x, Order::nhwc) || x.stride(1) == 1 ? Order::nhwc : Order::nchw;
}

inline torch::headeronly::MemoryFormat format_of(Order order) {
    return order == Order::nchw ? torch::headeronly::MemoryFormat::Contiguous
                                : torch::headeronly::MemoryFormat::ChannelsLast;
}

// x itself where it is dense in this order, else a copy that is.
inline Tensor dense(const Tensor& x, Order order) {
    return is_dense(x, order) ? x : torch::stable::contiguous(x, format_of(order));
}

inline Tensor dense(const Tensor& x) { return x.is_contiguous() ? x : torch::stable::contiguous(x); }

inline Tensor empty(std::initializer_list<int64_t> shape, const Tensor& like, Order order = Order::nchw) {
    return torch::stable::empty({shape.begin(), shape.size()}, like.scalar_type(), std::nullopt,
                                like.device(), std::nullopt, format_of(order));
}

inline void expect_shape(const char* op, const char* name, const Tensor& tensor,
                         std::initializer_list<int64_t> shape) {
    bool same = tensor.dim() == static_cast<int64_t>(shape.size());
    int64_t dim = 0;
    for (const int64_t size : shape) same = same && tensor.size(dim++) == size;
    STD_TORCH_CHECK(same, op, ": ", name, " has not the shape that the other arguments imply");
}

inline void expect_dtype(const char* op, const char* name, const Tensor& tensor, ScalarType dtype) {
    STD_TORCH_CHECK(tensor.scalar_type() == dtype, op, ": ", name,
                    " must hold sums' dtype (float64 for float64 images, else float32) or the images' own");
}

// Of this shape, and of the dtype of `like`.
inline void expect_like(const char* op, const char* name, const Tensor& tensor, const Tensor& like,
                        std::initializer_list<int64_t> shape) {
    expect_shape(op, name, tensor, shape);
    expect_dtype(op, name, tensor, like.scalar_type());
}

// The dtype that statistics and per-channel tensors of images of this dtype are kept in.
inline ScalarType statistic_dtype(const char* op, const Tensor& x) {
    const ScalarType dtype = x.scalar_type();
    STD_TORCH_CHECK(
        dtype == ScalarType::Float || dtype == ScalarType::Double || dtype == ScalarType::BFloat16, op,
        ": images must be float32, float64 or bfloat16");
    return dtype == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

}  // namespace pydistill
