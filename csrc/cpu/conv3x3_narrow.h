// The convolution of maps of few channels, such as images, and its adjoints: products of the maps as they
// lie, since in channels_last order the three taps of a row are 3 `in` numbers in a row. Kernel part (see
// isa.h).
#pragma once

#include "conv3x3.h"
#include "products.h"

namespace pydistill::cpu::PD_ISA {
namespace {

using conv3x3::Adjoint;
using conv3x3::Filters;
using conv3x3::Job;
using conv3x3::kChannels;

// A row of pixels with a pixel of zeros on either side, and behind it room for whole products.
PD_INLINE int64_t padded(int64_t width, int64_t channels) {
    return round_up((round_up(width, kHigh) + 2 + kHigh) * channels, 16);
}

// Row `row` of an image, zeros where there is none.
PD_INLINE void copy_row(const float* image, int64_t row, int64_t height, int64_t width, int64_t channels,
                        float* to) {
    for (int64_t k = 0; k < padded(width, channels); ++k) to[k] = 0;
    if (row < 0 || row >= height) return;
    const float* const from = image + row * width * channels;
    for (int64_t k = 0; k < width * channels; ++k) to[channels + k] = from[k];
}

// ---- few inputs ---------------------------------------------------------------------------------------
// Filters lie as (out / kWide, pairs, 3 rows, 3 columns, in, kWide), filled up with zeros.

int64_t few_in_prepared(const Job& job) { return round_up(job.out, kWide<float>) * job.pairs * 9 * job.in; }
int64_t few_in_blocks(const Job& job) { return job.images * job.height; }
int64_t few_in_scratch(const Job& job) { return 6 * padded(job.width, job.in) + kHigh * kWide<float>; }

void prepare_few_in(const Job& job, int64_t begin, int64_t end) {
    constexpr int W = kWide<float>;
    for (int64_t block = begin; block < end; ++block) {
        float* to = job.prepared + block * W * job.pairs * 9 * job.in;
        for (int64_t pair = 0; pair < job.pairs; ++pair) {
            const Filters& f = job.filters[pair];
            for (int64_t tap = 0; tap < 9; ++tap)
                for (int64_t in = 0; in < job.in; ++in)
                    for (int64_t out = block * W; out < (block + 1) * W; ++out)
                        *to++ =
                            out < job.out
                                ? f.first[out * f.out + in * f.in + tap / 3 * f.row + tap % 3 * f.column]
                                : 0;
        }
    }
}

// kHigh pixels from column `x` on by kWide outputs from `out` on; what is outside the map is left out.
PD_INLINE void write_pixels(const Job& job, const Sums<float>& sums, int64_t row, int64_t x, int64_t out,
                            float* edge) {
    constexpr int W = kWide<float>;
    float* const to = job.y + (row * job.width + x) * job.out + out;
    if (x + kHigh <= job.width && out + W <= job.out) return put(sums, to, job.out);
    put(sums, edge, W);
    for (int64_t i = 0; i < least(kHigh, job.width - x); ++i)
        for (int64_t o = 0; o < least(W, job.out - out); ++o) to[i * job.out + o] = edge[i * W + o];
}

// Rows of pixels from `begin` to `end`, those of all images counted together.
void convolve_few_in(const Job& job, int64_t begin, int64_t end, float* scratch) {
    constexpr int L = lanes<float>, W = kWide<float>;
    const int64_t line = padded(job.width, job.in), taps = 3 * job.in;
    float* const edge = scratch + 6 * line;
    for (int64_t row = begin; row < end; ++row) {
        const int64_t image = row / job.height, y = row % job.height;
        for (int64_t k = 0; k < 3 * job.pairs; ++k)
            copy_row(job.maps[k / 3] + image * job.height * job.width * job.in, y + k % 3 - 1, job.height,
                     job.width, job.in, scratch + k * line);
        for (int64_t out = 0; out < job.out; out += W) {
            Sums<float> bias{};
            if (job.bias)
                for (int v = 0; v < 2 && out + v * L < job.out; ++v)
                    for (int i = 0; i < kHigh; ++i) bias.at[i][v] = load<float, L>(job.bias + out + v * L);
            for (int64_t x = 0; x < job.width; x += kHigh) {
                Sums<float> sums = bias;
                const float* panel = job.prepared + out * job.pairs * 3 * taps;
                for (int64_t k = 0; k < 3 * job.pairs; ++k, panel += taps * W)
                    multiply(scratch + k * line + x * job.in, job.in, 1, panel, W, taps, sums);
                write_pixels(job, sums, row, x, out, edge);
            }
        }
    }
}

// ---- few outputs --------------------------------------------------------------------------------------
// Every pixel is multiplied with all taps, and the products are added to where they belong. Filters lie as
// (9 out / kWide, in, kWide), the 9 `out` in the order (row, column from the last to the first, out): the
// three columns' products then belong to three pixels in a row.

PD_INLINE int64_t few_out_panels(const Job& job) { return round_up(9 * job.out, kWide<float>); }
int64_t few_out_prepared(const Job& job) { return few_out_panels(job) * job.in; }
int64_t few_out_blocks(const Job& job) { return job.images; }
int64_t few_out_scratch(const Job& job) {
    return (job.height + 2) * padded(job.width, job.out) + kHigh * (few_out_panels(job) + job.in);
}

// The whole is one block: there are few outputs.
void prepare_few_out(const Job& job, int64_t, int64_t) {
    constexpr int W = kWide<float>;
    const Filters& f = job.filters[0];
    for (int64_t n = 0; n < few_out_panels(job); ++n) {
        const int64_t row = n / (3 * job.out), column = 2 - n / job.out % 3, out = n % job.out;
        for (int64_t in = 0; in < job.in; ++in)
            job.prepared[(n / W * job.in + in) * W + n % W] =
                row < 3 ? f.first[out * f.out + in * f.in + row * f.row + column * f.column] : 0;
    }
}

// Images from `begin` to `end`.
void convolve_few_out(const Job& job, int64_t begin, int64_t end, float* scratch) {
    constexpr int W = kWide<float>;
    const int64_t pixels = job.height * job.width, line = padded(job.width, job.out);
    const int64_t panels = few_out_panels(job), taps = 3 * job.out;
    float* const products = scratch + (job.height + 2) * line;
    float* const tail = products + kHigh * panels;
    for (int64_t image = begin; image < end; ++image) {
        for (int64_t k = 0; k < (job.height + 2) * line; ++k) scratch[k] = 0;
        for (int64_t first = 0; first < pixels; first += kHigh) {
            const int64_t count = least(kHigh, pixels - first);
            const float* from = job.maps[0] + (image * pixels + first) * job.in;
            if (count < kHigh) {
                for (int64_t k = 0; k < count * job.in; ++k) tail[k] = from[k];
                from = tail;
            }
            for (int64_t n = 0; n < panels; n += W) {
                Sums<float> sums{};
                const float* panel = job.prepared + n * job.in;
                for (int64_t in = 0; in < job.in; in += kChannels, panel += kChannels * W) {
                    for (int64_t i = 0; i < kHigh; ++i)
                        __builtin_prefetch(from + (kHigh + i) * job.in + in);
                    multiply(from + in, job.in, 1, panel, W, kChannels, sums);
                }
                put(sums, products + n, panels);
            }
            for (int64_t i = 0; i < count; ++i)
                for (int64_t row = 0; row < 3; ++row) {
                    const int64_t y = (first + i) / job.width - row + 2, x = (first + i) % job.width;
                    float* const to = scratch + y * line + x * job.out;
                    const float* const add = products + i * panels + row * taps;
                    over<lanes<float>>(0, taps, [&]<int L>(int64_t k) __attribute__((always_inline)) {
                        store<float, L>(to + k, load<float, L>(to + k) + load<float, L>(add + k));
                    });
                }
        }
        for (int64_t y = 0; y < job.height; ++y)
            for (int64_t k = 0; k < job.width * job.out; ++k)
                job.y[(image * job.height + y) * job.width * job.out + k] =
                    scratch[(y + 1) * line + job.out + k];
    }
}

// ---- few inputs: the filters' gradient ----------------------------------------------------------------
// The images are cut into chunks, the same whatever the number of threads; sums lie as (chunks,
// out / kWide, 3 rows, 3 columns, in, kWide), the taps of a row filled up to whole products.

int64_t few_in_chunks(const Adjoint& job) { return least(job.images, 16); }
PD_INLINE int64_t few_in_taps(const Adjoint& job) { return round_up(3 * job.in, kHigh); }
PD_INLINE int64_t few_in_chunk(const Adjoint& job) {
    return round_up(job.out, kWide<float>) * 3 * few_in_taps(job);
}
int64_t few_in_sums(const Adjoint& job) { return few_in_chunks(job) * few_in_chunk(job); }
int64_t few_in_sum_scratch(const Adjoint& job) {
    return 3 * padded(job.width, job.in) + job.width * round_up(job.out, kWide<float>);
}

// A row of pixels as (out / kWide, width, kWide), filled up with zeros.
PD_INLINE void copy_outputs(const Adjoint& job, int64_t row, float* to) {
    constexpr int L = lanes<float>, W = kWide<float>;
    const float* from = job.grad + row * job.width * job.out;
    for (int64_t x = 0; x < job.width; ++x, from += job.out)
        for (int64_t out = 0; out < round_up(job.out, W); out += L)
            store<float, L>(to + (out / W * job.width + x) * W + out % W,
                            out < job.out ? load<float, L>(from + out) : vec<float, L>{});
}

// Chunks of images from `begin` to `end`.
void sum_few_in(const Adjoint& job, int64_t begin, int64_t end, float* scratch) {
    constexpr int W = kWide<float>;
    const int64_t line = padded(job.width, job.in), taps = few_in_taps(job), chunks = few_in_chunks(job);
    float* const grads = scratch + 3 * line;
    for (int64_t chunk = begin; chunk < end; ++chunk) {
        float* const chunk_sums = job.sums + chunk * few_in_chunk(job);
        for (int64_t k = 0; k < few_in_chunk(job); ++k) chunk_sums[k] = 0;
        const int64_t first = chunk * job.images / chunks, last = (chunk + 1) * job.images / chunks;
        for (int64_t row = first * job.height; row < last * job.height; ++row) {
            const float* const image = job.maps + row / job.height * job.height * job.width * job.in;
            for (int64_t k = 0; k < 3; ++k)
                copy_row(image, row % job.height + k - 1, job.height, job.width, job.in,
                         scratch + k * line);
            copy_outputs(job, row, grads);
            for (int64_t out = 0; out < job.out; out += W)
                for (int64_t k = 0; k < 3; ++k)
                    for (int64_t tap = 0; tap < taps; tap += kHigh) {
                        Sums<float> sums{};
                        multiply(scratch + k * line + tap, 1, job.in, grads + out * job.width, W, job.width,
                                 sums);
                        add(sums, chunk_sums + ((out / W * 3 + k) * taps + tap) * W, W);
                    }
        }
    }
}

void finish_few_in(const Adjoint& job, int64_t begin, int64_t end) {
    constexpr int W = kWide<float>;
    const int64_t taps = few_in_taps(job);
    for (int64_t in = begin; in < end; ++in)
        for (int64_t out = 0; out < job.out; ++out)
            for (int64_t tap = 0; tap < 9; ++tap) {
                const int64_t row = tap / 3, column = tap % 3;
                const float* const from =
                    job.sums + ((out / W * 3 + row) * taps + column * job.in + in) * W + out % W;
                float sum = 0;
                for (int64_t chunk = 0; chunk < few_in_chunks(job); ++chunk)
                    sum += from[chunk * few_in_chunk(job)];
                job.filters[out * job.filter_out + in * job.filter_in + row * job.filter_row +
                            column * job.filter_column] = sum;
            }
}

}  // namespace
}  // namespace pydistill::cpu::PD_ISA
