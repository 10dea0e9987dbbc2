// Host side of the CPU kernels: threads and sums over images.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../common/tensors.h"

namespace pydistill::cpu {

// f(begin, end) over [0, count) on torch's threads. `work` is the elements that one item touches; items are
// bundled so that a thread is not woken for less than it costs.
template <class F>
void parallel(int64_t count, int64_t work, const F& f) {
    constexpr int64_t kWorth = 1 << 14;
    torch::stable::parallel_for(0, count, std::max<int64_t>(1, kWorth / std::max<int64_t>(1, work)), f);
}

// (R, C) to (G, C): the sum over each group's R/G images, in their order whatever the number of threads.
template <class A>
void sum_images_of(const A* parts, A* sums, int64_t rows, int64_t channels, int64_t groups) {
    const int64_t each = rows / groups;
    for (int64_t g = 0; g < groups; ++g)
        for (int64_t c = 0; c < channels; ++c) {
            double sum = 0;
            for (int64_t n = 0; n < each; ++n)
                sum += static_cast<double>(parts[(g * each + n) * channels + c]);
            sums[g * channels + c] = static_cast<A>(sum);
        }
}

inline Tensor sum_images(const Tensor& parts, int64_t groups) {
    const int64_t rows = parts.size(0), channels = parts.size(1);
    Tensor sums = empty({groups, channels}, parts);
    if (parts.scalar_type() == ScalarType::Double)
        sum_images_of(static_cast<const double*>(parts.const_data_ptr()),
                      static_cast<double*>(sums.mutable_data_ptr()), rows, channels, groups);
    else
        sum_images_of(static_cast<const float*>(parts.const_data_ptr()),
                      static_cast<float*>(sums.mutable_data_ptr()), rows, channels, groups);
    return sums;
}

}  // namespace pydistill::cpu
