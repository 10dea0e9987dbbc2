// Winograd's F(4x4, 3x3): 4 x 4 outputs of a 3 x 3 convolution from 36 products instead of 144 (A. Lavin,
// S. Gray: Fast Algorithms for Convolutional Neural Networks, CVPR 2016, arXiv:1509.09308):
//
//     y = A^T [(G w G^T) (.) (B^T d B)] A
//
// The points are 0, infinity, +-1/sqrt(2) and +-sqrt(2), not the paper's 0, infinity, +-1 and +-2: the same
// number of operations, half the rounding error. Kernel part (see isa.h).
#pragma once

#include "conv3x3.h"
#include "products.h"

namespace pydistill::cpu::PD_ISA {
namespace {

constexpr int kTile = 4, kReach = 6, kPositions = kReach * kReach;
constexpr float kNear = 0.70710678118654752f, kFar = 1.41421356237309505f;  // the points

// B^T, of one line.
template <class V>
PD_INLINE void line_of_maps(const V (&d)[6], V (&to)[6]) {
    const V near_even = d[4] - 2.f * d[2], near_odd = kNear * (d[3] - 2.f * d[1]);
    const V far_even = d[4] - 0.5f * d[2], far_odd = kFar * (d[3] - 0.5f * d[1]);
    to[0] = d[0] + (d[4] - 2.5f * d[2]);
    to[1] = near_even + near_odd;
    to[2] = near_even - near_odd;
    to[3] = far_even + far_odd;
    to[4] = far_even - far_odd;
    to[5] = d[1] + (d[5] - 2.5f * d[3]);
}

// G.
template <class V>
PD_INLINE void line_of_filters(const V (&w)[3], V (&to)[6]) {
    const V near_even = (-2.f / 3) * w[0] + (-1.f / 3) * w[2], near_odd = (-2.f / 3 * kNear) * w[1];
    const V far_even = (1.f / 6) * w[0] + (1.f / 3) * w[2], far_odd = (kFar / 6) * w[1];
    to[0] = w[0];
    to[1] = near_even + near_odd;
    to[2] = near_even - near_odd;
    to[3] = far_even + far_odd;
    to[4] = far_even - far_odd;
    to[5] = w[2];
}

// A^T.
template <class V>
PD_INLINE void line_of_outputs(const V (&m)[6], V (&to)[4]) {
    const V near_sum = m[1] + m[2], near_gap = m[1] - m[2];
    const V far_sum = m[3] + m[4], far_gap = m[3] - m[4];
    to[0] = m[0] + (near_sum + far_sum);
    to[1] = kNear * near_gap + kFar * far_gap;
    to[2] = 0.5f * near_sum + 2.f * far_sum;
    to[3] = m[5] + ((0.5f * kNear) * near_gap + (2.f * kFar) * far_gap);
}

// A: the adjoint of line_of_outputs.
template <class V>
PD_INLINE void line_of_grads(const V (&g)[4], V (&to)[6]) {
    const V near_even = g[0] + 0.5f * g[2], near_odd = kNear * (g[1] + 0.5f * g[3]);
    const V far_even = g[0] + 2.f * g[2], far_odd = kFar * (g[1] + 2.f * g[3]);
    to[0] = g[0];
    to[1] = near_even + near_odd;
    to[2] = near_even - near_odd;
    to[3] = far_even + far_odd;
    to[4] = far_even - far_odd;
    to[5] = g[3];
}

// G^T: the adjoint of line_of_filters.
template <class V>
PD_INLINE void line_of_sums(const V (&s)[6], V (&to)[3]) {
    const V near_sum = s[1] + s[2], near_gap = s[1] - s[2];
    const V far_sum = s[3] + s[4], far_gap = s[3] - s[4];
    to[0] = s[0] + ((-2.f / 3) * near_sum + (1.f / 6) * far_sum);
    to[1] = (-2.f / 3 * kNear) * near_gap + (kFar / 6) * far_gap;
    to[2] = s[5] + ((-1.f / 3) * near_sum + (1.f / 3) * far_sum);
}

// A line's transform over the columns, then over the rows, of a square.
template <int From, int To, class V, class Line>
PD_INLINE void square(const V (&from)[From * From], V (&to)[To * To], const Line& line) {
    V half[To * From];
#pragma GCC unroll 6
    for (int j = 0; j < From; ++j) {
        V before[From], after[To];
#pragma GCC unroll 6
        for (int i = 0; i < From; ++i) before[i] = from[i * From + j];
        line(before, after);
#pragma GCC unroll 6
        for (int i = 0; i < To; ++i) half[i * From + j] = after[i];
    }
#pragma GCC unroll 6
    for (int i = 0; i < To; ++i) {
        V before[From], after[To];
#pragma GCC unroll 6
        for (int j = 0; j < From; ++j) before[j] = half[i * From + j];
        line(before, after);
#pragma GCC unroll 6
        for (int j = 0; j < To; ++j) to[i * To + j] = after[j];
    }
}

// How maps are cut into tiles; all tiles of all images are counted in a row.
struct Cut {
    int64_t height, width, down, across;

    Cut(int64_t height_, int64_t width_)
        : height(height_),
          width(width_),
          down(round_up(height_, kTile) / kTile),
          across(round_up(width_, kTile) / kTile) {}

    PD_INLINE int64_t tiles(int64_t images) const { return images * down * across; }
    PD_INLINE int64_t image(int64_t tile) const { return tile / (down * across); }
    PD_INLINE int64_t row(int64_t tile) const { return tile / across % down * kTile; }
    PD_INLINE int64_t column(int64_t tile) const { return tile % across * kTile; }

    // Where the pixels of the Size x Size square around a tile lie; `zeros` stands for those outside.
    template <int Size>
    PD_INLINE void pixels(const float* maps, int64_t channels, int64_t tile, const float* zeros,
                          const float* (&at)[Size * Size]) const {
        constexpr int margin = (Size - kTile) / 2;
        const float* const image_at = maps + image(tile) * height * width * channels;
        const int64_t top = row(tile) - margin, left = column(tile) - margin;
        for (int i = 0; i < Size; ++i)
            for (int j = 0; j < Size; ++j) {
                const int64_t y = top + i, x = left + j;
                const bool inside = y >= 0 && y < height && x >= 0 && x < width;
                at[i * Size + j] = inside ? image_at + (y * width + x) * channels : zeros;
            }
    }
};

// The pixels of one tile after the other: while those of one are read, those of the next are fetched.
template <int Size>
class Window {
  public:
    PD_INLINE Window(const Cut& cut, const float* maps, int64_t channels, int64_t tile, const float* zeros)
        : cut_(cut), maps_(maps), channels_(channels), tile_(tile), zeros_(zeros) {
        cut_.template pixels<Size>(maps_, channels_, tile_, zeros_, at_[1]);
    }

    // Goes on to the next tile, or to the first; there are `total`.
    PD_INLINE void next(int64_t total) {
        for (int k = 0; k < Size * Size; ++k) at_[0][k] = at_[1][k];
        if (++tile_ < total) cut_.template pixels<Size>(maps_, channels_, tile_, zeros_, at_[1]);
    }

    PD_INLINE void read(int64_t channel, vec<float, lanes<float>> (&to)[Size * Size]) const {
#pragma GCC unroll 36
        for (int k = 0; k < Size * Size; ++k) {
            to[k] = load<float, lanes<float>>(at_[0][k] + channel);
            __builtin_prefetch(at_[1][k] + channel);
        }
    }

  private:
    const Cut cut_;
    const float* const maps_;
    const int64_t channels_;
    int64_t tile_;
    const float* const zeros_;
    const float* at_[2][Size * Size];
};

}  // namespace
}  // namespace pydistill::cpu::PD_ISA
