// Winograd's convolution of maps, a block of tiles at a time: small enough that what it is transformed to
// stays in the second cache. Kernel part (see isa.h).
#pragma once

#include "conv3x3_tiles.h"

namespace pydistill::cpu::PD_ISA {
namespace {

using conv3x3::Job;

constexpr int64_t kLine = 16;  // between positions, which would else lie a power of two apart

// Tiles of a block, a multiple of kHigh: fewer where there are many channels.
PD_INLINE int64_t block_tiles(const Job& job) { return (job.pairs * job.in > 256 ? 12 : 24); }

// Where things lie. Filters: (out / kWide, positions, pairs in, kWide), filled up with zeros. Of a block of
// tiles: (positions, pairs in / lanes, tiles, lanes) and, for kWide outputs, (positions, tiles, kWide).
struct Layout {
    int64_t depth, tiles;

    explicit Layout(const Job& job) : depth(job.pairs * job.in), tiles(block_tiles(job)) {}

    PD_INLINE int64_t panel() const { return depth * kWide<float>; }
    PD_INLINE int64_t position() const { return depth * tiles + kLine; }
    PD_INLINE int64_t product() const { return tiles * kWide<float> + kLine; }
    PD_INLINE int64_t scratch(const Job& job) const {
        return round_up(job.in, kLine) + kPositions * (position() + product());
    }
};

int64_t maps_blocks(const Job& job) {
    const int64_t each = block_tiles(job);
    return round_up(Cut(job.height, job.width).tiles(job.images), each) / each;
}
int64_t maps_scratch(const Job& job) { return Layout(job).scratch(job); }
int64_t maps_prepared(const Job& job) {
    return round_up(job.out, kWide<float>) * kPositions * job.pairs * job.in;
}

// G w G^T for blocks of kWide outputs from `begin` to `end`.
void prepare_filters(const Job& job, int64_t begin, int64_t end) {
    constexpr int L = lanes<float>, W = kWide<float>;
    using V = vec<float, L>;
    const Layout layout(job);
    for (int64_t block = begin; block < end; ++block)
        for (int64_t pair = 0; pair < job.pairs; ++pair) {
            const conv3x3::Filters& filters = job.filters[pair];
            for (int64_t in = 0; in < job.in; ++in)
                for (int64_t out = block * W; out < (block + 1) * W; out += L) {
                    V taps[9]{}, to[kPositions];
                    if (out < job.out)
                        for (int tap = 0; tap < 9; ++tap)
                            for (int l = 0; l < L; ++l)
                                taps[tap][l] =
                                    filters.first[(out + l) * filters.out + in * filters.in +
                                                  tap / 3 * filters.row + tap % 3 * filters.column];
                    square<3, kReach>(taps, to, [](const V(&w)[3], V(&u)[6]) { line_of_filters(w, u); });
                    float* const at = job.prepared + block * kPositions * layout.panel() +
                                      (pair * job.in + in) * W + (out - block * W);
                    for (int k = 0; k < kPositions; ++k) store<float, L>(at + k * layout.panel(), to[k]);
                }
        }
}

// B^T d B of a tile, for every channel.
PD_INLINE void transform_tile(const Job& job, const Layout& layout, const Window<kReach>& window,
                              float* to) {
    constexpr int L = lanes<float>;
    using V = vec<float, L>;
    for (int64_t channel = 0; channel < job.in; channel += L, to += layout.tiles * L) {
        V d[kPositions], v[kPositions];
        window.read(channel, d);
        square<kReach, kReach>(d, v, [](const V(&from)[6], V(&out)[6]) { line_of_maps(from, out); });
#pragma GCC unroll 36
        for (int k = 0; k < kPositions; ++k) store<float, L>(to + k * layout.position(), v[k]);
    }
}

// A^T m A of a tile, for one vector of outputs from `channel` on; what is outside the map is left out.
PD_INLINE void finish_tile(const Job& job, const Layout& layout, int64_t tile, int64_t channel,
                           const float* from) {
    constexpr int L = lanes<float>;
    using V = vec<float, L>;
    const Cut cut(job.height, job.width);
    V m[kPositions], y[kTile * kTile];
#pragma GCC unroll 36
    for (int k = 0; k < kPositions; ++k) m[k] = load<float, L>(from + k * layout.product());
    square<kReach, kTile>(m, y, [](const V(&line)[6], V(&out)[4]) { line_of_outputs(line, out); });
    const V bias = job.bias ? load<float, L>(job.bias + channel) : V{};
    const int64_t top = cut.row(tile), left = cut.column(tile);
    const int64_t high = job.height - top, wide = job.width - left;
    float* to = job.y + ((cut.image(tile) * job.height + top) * job.width + left) * job.out + channel;
#pragma GCC unroll 4
    for (int i = 0; i < kTile; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < kTile; ++j)
            if (i < high && j < wide)
                store<float, L>(to + (i * job.width + j) * job.out, y[i * kTile + j] + bias);
}

// Blocks of tiles from `begin` to `end`.
void convolve_maps(const Job& job, int64_t begin, int64_t end, float* scratch) {
    constexpr int L = lanes<float>, W = kWide<float>;
    const Layout layout(job);
    const Cut cut(job.height, job.width);
    const int64_t total = cut.tiles(job.images);
    float* const zeros = scratch;
    float* const transformed = zeros + round_up(job.in, kLine);
    float* const products = transformed + kPositions * layout.position();
    for (int64_t channel = 0; channel < job.in; ++channel) zeros[channel] = 0;
    for (int64_t block = begin; block < end; ++block) {
        const int64_t first = block * layout.tiles, count = least(layout.tiles, total - first);
        for (int64_t pair = 0; pair < job.pairs; ++pair) {
            Window<kReach> window(cut, job.maps[pair], job.in, first, zeros);
            for (int64_t t = 0; t < count; ++t) {
                window.next(total);
                transform_tile(job, layout, window, transformed + pair * job.in * layout.tiles + t * L);
            }
        }
        for (int64_t out = 0; out < job.out; out += W) {
            const float* panel = job.prepared + out / W * kPositions * layout.panel();
            for (int k = 0; k < kPositions; ++k, panel += layout.panel())
                for (int64_t t = 0; t < count; t += kHigh) {
                    Sums<float> sums{};
                    const float* a = transformed + k * layout.position() + t * L;
                    for (int64_t in = 0; in < layout.depth; in += L, a += layout.tiles * L)
                        multiply(a, L, 1, panel + in * W, W, L, sums);
                    put(sums, products + k * layout.product() + t * W, W);
                }
            for (int64_t t = 0; t < count; ++t)
                for (int64_t channel = out; channel < least(out + W, job.out); channel += L)
                    finish_tile(job, layout, first + t, channel, products + t * W + channel - out);
        }
    }
}

}  // namespace
}  // namespace pydistill::cpu::PD_ISA
