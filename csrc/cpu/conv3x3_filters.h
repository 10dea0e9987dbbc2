// Gradient of the filters by the adjoint of Winograd's convolution: G^T [sum over tiles of
// (B^T d B) (.) (A g A^T)] G. Kernel part (see isa.h).
//
// A thread takes one of the six rows of positions, and some of the outputs, over all tiles: its sums stay
// in the second cache and no two threads add to the same, so that the order of sums is always that of the
// tiles.
#pragma once

#include "conv3x3_tiles.h"

namespace pydistill::cpu::PD_ISA {
namespace {

using conv3x3::Adjoint;

constexpr int64_t kSpan = 32;  // tiles that are transformed at a time

// Where things lie. Sums: (positions, out / kWide, in, kWide). Of a span of tiles, for one row of
// positions: (6, tiles, in), and (6, out / kWide, tiles, kWide).
struct Spans {
    int64_t in, out;

    explicit Spans(const Adjoint& job)
        : in(round_up(job.in, kHigh)), out(round_up(job.out, kWide<float>)) {}

    PD_INLINE int64_t sums() const { return in * out; }
    PD_INLINE int64_t maps(const Adjoint& job) const { return kSpan * job.in + 16; }
    PD_INLINE int64_t grads() const { return kSpan * out + 16; }
};

int64_t filters_sums(const Adjoint& job) { return kPositions * Spans(job).sums(); }
int64_t filters_scratch(const Adjoint& job) {
    const Spans spans(job);
    return round_up(job.in > job.out ? job.in : job.out, 16) + kReach * (spans.maps(job) + spans.grads());
}

// Rows of positions from `begin` to `end`, for outputs in blocks `low` to `high` of kWide.
template <int Row>
void sum_row(const Adjoint& job, int64_t low, int64_t high, float* scratch) {
    constexpr int L = lanes<float>, W = kWide<float>;
    using V = vec<float, L>;
    const Spans spans(job);
    const Cut cut(job.height, job.width);
    const int64_t total = cut.tiles(job.images);
    float* const zeros = scratch;
    float* const maps = zeros + round_up(job.in > job.out ? job.in : job.out, 16);
    float* const grads = maps + kReach * spans.maps(job);
    float* const sums_at = job.sums + Row * kReach * spans.sums();
    for (int64_t first = 0; first < total; first += kSpan) {
        const int64_t count = least(kSpan, total - first);
        for (int64_t t = 0; t < count; ++t) {
            const float *pixels[kPositions], *outputs[kTile * kTile];
            cut.pixels<kReach>(job.maps, job.in, first + t, zeros, pixels);
            cut.pixels<kTile>(job.grad, job.out, first + t, zeros, outputs);
            for (int64_t channel = 0; channel < job.in; channel += L) {
                V d[kPositions], v[kReach];
                gather(pixels, channel, d);
                row_of_square<Row, kReach>(d, v, [](const V(&a)[6], V(&b)[6]) { line_of_maps(a, b); });
#pragma GCC unroll 6
                for (int j = 0; j < kReach; ++j)
                    store<float, L>(maps + j * spans.maps(job) + t * job.in + channel, v[j]);
            }
            for (int64_t channel = low * W; channel < least(high * W, job.out); channel += L) {
                V g[kTile * kTile], z[kReach];
                gather(outputs, channel, g);
                row_of_square<Row, kTile>(g, z, [](const V(&a)[4], V(&b)[6]) { line_of_grads(a, b); });
#pragma GCC unroll 6
                for (int j = 0; j < kReach; ++j)
                    store<float, L>(grads + j * spans.grads() + (channel / W * kSpan + t) * W + channel % W,
                                    z[j]);
            }
        }
        for (int j = 0; j < kReach; ++j)
            for (int64_t block = low; block < high; ++block)
                for (int64_t in = 0; in < job.in; in += kHigh) {
                    float* const to = sums_at + j * spans.sums() + (block * spans.in + in) * W;
                    Sums<float> sums{};
                    multiply(maps + j * spans.maps(job) + in, 1, job.in,
                             grads + j * spans.grads() + block * kSpan * W, W, count, sums);
                    first > 0 ? add(sums, to, W) : put(sums, to, W);
                }
    }
}

// Slices that the outputs are cut into: with more, more threads find work, and maps are transformed for
// each.
PD_INLINE int64_t filters_slices(const Adjoint& job) {
    const int64_t most = Spans(job).out / kWide<float>, wanted = round_up(job.threads, kReach) / kReach;
    return least(most, wanted);
}
int64_t filters_blocks(const Adjoint& job) { return kReach * filters_slices(job); }

// Items (row of positions, slice of outputs) from `begin` to `end`.
void sum_filters(const Adjoint& job, int64_t begin, int64_t end, float* scratch) {
    using Run = void (*)(const Adjoint&, int64_t, int64_t, float*);
    constexpr Run kRuns[kReach] = {sum_row<0>, sum_row<1>, sum_row<2>, sum_row<3>, sum_row<4>, sum_row<5>};
    const int64_t blocks = Spans(job).out / kWide<float>, slices = filters_slices(job);
    for (int64_t k = 0; k < filters_scratch(job); ++k) scratch[k] = 0;
    for (int64_t item = begin; item < end; ++item) {
        const int64_t slice = item % slices;
        kRuns[item / slices](job, slice * blocks / slices, (slice + 1) * blocks / slices, scratch);
    }
}

// G^T of the sums G for inputs from `begin` to `end`.
void finish_filters(const Adjoint& job, int64_t begin, int64_t end) {
    constexpr int L = lanes<float>, W = kWide<float>;
    using V = vec<float, L>;
    const Spans spans(job);
    for (int64_t in = begin; in < end; ++in)
        for (int64_t out = 0; out < job.out; out += L) {
            const float* const from = job.sums + (out / W * spans.in + in) * W + out % W;
            V s[kPositions], taps[9];
#pragma GCC unroll 36
            for (int k = 0; k < kPositions; ++k) s[k] = load<float, L>(from + k * spans.sums());
            square<kReach, 3>(s, taps, [](const V(&a)[6], V(&b)[3]) { line_of_sums(a, b); });
            for (int tap = 0; tap < 9; ++tap)
                for (int l = 0; l < L; ++l)
                    job.filters[(out + l) * job.filter_out + in * job.filter_in + tap / 3 * job.filter_row +
                                tap % 3 * job.filter_column] = taps[tap][l];
        }
}

}  // namespace
}  // namespace pydistill::cpu::PD_ISA
