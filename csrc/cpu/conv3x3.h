// What conv3x3 works on, for its host part and its kernels.
#pragma once

#include <stdint.h>

namespace pydistill::cpu::conv3x3 {

constexpr int64_t kChannels = 16;  // channels come in multiples of this, inputs also in fewer

// Filters (out, in, 3, 3) of any strides; taps are turned about by negative ones.
struct Filters {
    const float* first;
    int64_t out, in, row, column;
};

// y = sum over the pairs of maps * filters (+ bias). Maps are (images, height, width, channels).
struct Job {
    int64_t images, height, width, in, out;
    int64_t pairs;  // 1 or 2
    const float* maps[2];
    Filters filters[2];
    const float* bias;  // (out,) or null
    float* prepared;    // the filters as the kernel reads them
    float* y;
};

// Gradient of the filters: the adjoint of the above for one pair.
struct Adjoint {
    int64_t images, height, width, in, out, threads;
    const float *maps, *grad;
    float* sums;  // what the kernel adds up
    float* filters;
    int64_t filter_out, filter_in, filter_row, filter_column;  // strides
};

}  // namespace pydistill::cpu::conv3x3
