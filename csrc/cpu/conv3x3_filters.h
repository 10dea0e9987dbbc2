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

// Where things lie. Sums: (positions, out / kWide, in, kWide). Of a span, some rows of tiles, for one row
// of positions: (6, tiles, in), and (6, out / kWide, tiles, kWide). Of one row of tiles, its rows of pixels
// as one: (width, in) with zeros on either side, and (width, out) with zeros behind.
struct Spans {
    Cut cut;
    int64_t in, out, rows, tiles, width;

    explicit Spans(const Adjoint& job)
        : cut(job.height, job.width),
          in(round_up(job.in, kHigh)),
          out(round_up(job.out, kWide<float>)),
          rows(cut.across < 32 ? 32 / cut.across : 1),
          tiles(rows * cut.across),
          width(kTile * cut.across) {}

    PD_INLINE int64_t sums() const { return in * out; }
    PD_INLINE int64_t maps(const Adjoint& job) const { return tiles * job.in + 16; }
    PD_INLINE int64_t grads() const { return tiles * out + 16; }
    PD_INLINE int64_t map_line(const Adjoint& job) const { return (width + 2) * job.in; }
    PD_INLINE int64_t grad_line(const Adjoint& job) const { return width * job.out; }
    PD_INLINE int64_t zeros(const Adjoint& job) const {
        return job.width * (job.in > job.out ? job.in : job.out);
    }
};

int64_t filters_sums(const Adjoint& job) { return kPositions * Spans(job).sums(); }
int64_t filters_scratch(const Adjoint& job) {
    const Spans spans(job);
    return spans.zeros(job) + spans.map_line(job) + spans.grad_line(job) +
           kReach * (spans.maps(job) + spans.grads());
}

// Row `Row` of a line's transform, over the Size rows of pixels from `top` on: `count` numbers a row.
template <int Row, int Size, class Line>
PD_INLINE void mix_rows(const float* image, int64_t top, int64_t height, const float* zeros, int64_t count,
                        float* to, const Line& transform) {
    constexpr int L = lanes<float>;
    const float* rows[Size];
    for (int i = 0; i < Size; ++i)
        rows[i] = top + i >= 0 && top + i < height ? image + (top + i) * count : zeros;
    for (int64_t k = 0; k < count; k += L) {
        vec<float, L> before[Size], after[kReach];
#pragma GCC unroll 6
        for (int i = 0; i < Size; ++i) before[i] = load<float, L>(rows[i] + k);
        transform(before, after);
        store<float, L>(to + k, after[Row]);
    }
}

// A line's transform of the Size pixels from `from` on.
template <int Size, class Line>
PD_INLINE void mix_columns(const float* from, int64_t channels, float* to, int64_t position,
                           const Line& transform) {
    constexpr int L = lanes<float>;
    vec<float, L> before[Size], after[kReach];
#pragma GCC unroll 6
    for (int j = 0; j < Size; ++j) before[j] = load<float, L>(from + j * channels);
    transform(before, after);
#pragma GCC unroll 6
    for (int j = 0; j < kReach; ++j) store<float, L>(to + j * position, after[j]);
}

// One row of positions, for outputs in blocks `low` to `high` of kWide.
template <int Row>
void sum_row(const Adjoint& job, int64_t low, int64_t high, float* scratch) {
    constexpr int L = lanes<float>, W = kWide<float>;
    const auto of_maps = [](const auto& from, auto& to) { line_of_maps(from, to); };
    const auto of_grads = [](const auto& from, auto& to) { line_of_grads(from, to); };
    const Spans spans(job);
    const Cut& cut = spans.cut;
    const int64_t total = job.images * cut.down;
    const int64_t map_row = job.width * job.in, grad_row = job.width * job.out;
    float* const zeros = scratch;
    float* const map_line = zeros + spans.zeros(job);
    float* const grad_line = map_line + spans.map_line(job);
    float* const maps = grad_line + spans.grad_line(job);
    float* const grads = maps + kReach * spans.maps(job);
    float* const sums_at = job.sums + Row * kReach * spans.sums();
    for (int64_t first = 0; first < total; first += spans.rows) {
        const int64_t count = least(spans.rows, total - first) * cut.across;
        for (int64_t t = 0; t < count; t += cut.across) {
            const int64_t row = first + t / cut.across, image = row / cut.down,
                          top = row % cut.down * kTile;
            mix_rows<Row, kReach>(job.maps + image * job.height * map_row, top - 1, job.height, zeros,
                                  map_row, map_line + job.in, of_maps);
            mix_rows<Row, kTile>(job.grad + image * job.height * grad_row, top, job.height, zeros, grad_row,
                                 grad_line, of_grads);
            for (int64_t x = 0; x < cut.across; ++x) {
                for (int64_t channel = 0; channel < job.in; channel += L)
                    mix_columns<kReach>(map_line + x * kTile * job.in + channel, job.in,
                                        maps + (t + x) * job.in + channel, spans.maps(job), of_maps);
                for (int64_t channel = low * W; channel < least(high * W, job.out); channel += L)
                    mix_columns<kTile>(grad_line + x * kTile * job.out + channel, job.out,
                                       grads + (channel / W * spans.tiles + t + x) * W + channel % W,
                                       spans.grads(), of_grads);
            }
        }
        for (int j = 0; j < kReach; ++j)
            for (int64_t block = low; block < high; ++block)
                for (int64_t in = 0; in < job.in; in += kHigh) {
                    float* const to = sums_at + j * spans.sums() + (block * spans.in + in) * W;
                    Sums<float> sums{};
                    multiply(maps + j * spans.maps(job) + in, 1, job.in,
                             grads + j * spans.grads() + block * spans.tiles * W, W, count, sums);
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
