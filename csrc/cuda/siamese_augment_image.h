// siamese_augment on CUDA: one image in the hands of one block, a value a thread at a time. The adjoint of
// sampling is gathered as well: a pixel looks for the samples near its own preimage, always in one order.
#pragma once

#include "../common/bf16.h"
#include "../common/siamese_augment.h"
#include "reduce.h"

namespace pydistill::cuda {
namespace {

using namespace pydistill::siamese_augment;

constexpr int kBlock = 256;

// An image's values by their offset, in memory order: of storage type S, or sums between two steps.
template <class S>
struct Values {
    const S* at;
    __device__ acc_t<S> operator[](int offset) const { return widen(at[offset]); }
};

// Offsets in an image's memory order.
struct Shape {
    int height, width, channels, pixels, size;
    bool channels_last;

    __device__ explicit Shape(const Job& job)
        : height(static_cast<int>(job.height)),
          width(static_cast<int>(job.width)),
          channels(static_cast<int>(job.channels)),
          pixels(height * width),
          size(pixels * channels),
          channels_last(job.channels_last) {}

    __device__ int offset(int pixel, int channel) const {
        return channels_last ? pixel * channels + channel : channel * pixels + pixel;
    }
    __device__ int pixel(int offset) const { return channels_last ? offset / channels : offset % pixels; }
    __device__ int channel(int offset) const { return channels_last ? offset % channels : offset / pixels; }
};

// f(offset, row, column, channel) for every value of the image, spread over the block.
template <class F>
__device__ __forceinline__ void over_values(const Shape& shape, const F& f) {
    for (int offset = static_cast<int>(threadIdx.x); offset < shape.size; offset += kBlock) {
        const int pixel = shape.pixel(offset), row = pixel / shape.width;
        f(offset, row, pixel - row * shape.width, shape.channel(offset));
    }
}

// A value after a move of `from`.
template <class S>
__device__ __forceinline__ acc_t<S> moved(const Shape& shape, const Move& move, const Values<S>& from,
                                          int i, int j, int channel) {
    const int64_t row = i + move.down, column = move.column(j);
    const bool there = row >= 0 && row < shape.height && column >= 0 && column < shape.width;
    if (!there || move.cut(i, j)) return acc_t<S>{};
    return from[shape.offset(static_cast<int>(row * shape.width + column), channel)];
}

// Color, given how a value of the image is had.
template <class A>
struct Color {
    A keep, share, offset;

    // A block's work: the image's mean may be summed.
    template <class F>
    __device__ Color(const Shape& shape, const Effect& effect, const F& value)
        : keep(static_cast<A>(effect.keep)),
          share(static_cast<A>(effect.grey) / static_cast<A>(shape.channels)),
          offset(static_cast<A>(effect.constant)) {
        if (!effect.color || effect.mean == 0) return;
        A sum[1]{};
        over_values(shape, [&](int, int i, int j, int channel) { sum[0] += value(i, j, channel); });
        BlockTeam<kBlock>::sum(sum);
        offset += static_cast<A>(effect.mean) * (sum[0] / static_cast<A>(shape.size));
    }

    template <class F>
    __device__ A operator()(const Shape& shape, const F& value, int i, int j, int channel) const {
        A sum{};
        if (share != 0)
            for (int c = 0; c < shape.channels; ++c) sum += value(i, j, c);
        return value(i, j, channel) * keep + (sum * share + offset);
    }
};

template <class S>
__device__ __forceinline__ acc_t<S> sampled(const Shape& shape, const Sampling<acc_t<S>>& sampling,
                                            const Values<S>& from, int i, int j, int channel) {
    using A = acc_t<S>;
    const Place<A> place = sampling.place(i, j);
    if (!place.inside) return A{};
    const auto at = [&](int row, int column) {
        const bool there = row >= 0 && row < shape.height && column >= 0 && column < shape.width;
        return there ? from[shape.offset(row * shape.width + column, channel)] : A{};
    };
    const A a = at(place.row, place.column), b = at(place.row, place.column + 1);
    const A c = at(place.row + 1, place.column), d = at(place.row + 1, place.column + 1);
    const A upper = a + (b - a) * place.right, lower = c + (d - c) * place.right;
    return upper + (lower - upper) * place.below;
}

// The first and the last of `count` whole numbers within `reach` of `middle`; all where that is not finite.
template <class A>
struct Range {
    int first, last;
    __device__ Range(A middle, A reach, int count) {
        const A low = middle - reach, high = middle + reach, most = static_cast<A>(count);
        first = low > 0 ? (low < most ? static_cast<int>(low) : count) : 0;
        last = high < most - 1 ? (high > -1 ? static_cast<int>(high + 1) - 1 : -1) : count - 1;
    }
};

// The adjoint of sampling. All samples less than 1 from a pixel in both directions lie, in the result, in a
// box about the pixel's preimage; of what the box holds besides, the weight is 0.
template <class A>
struct Spread {
    Sampling<A> sampling;
    A xx, xy, yx, yy, reach_x, reach_y;  // the inverse matrix, and half the sides of the box

    __device__ Spread(const Map& map, const Shape& shape) : sampling(map, shape.height, shape.width) {
        const double determinant = map.xx * map.yy - map.xy * map.yx;
        xx = static_cast<A>(map.yy / determinant), xy = static_cast<A>(-map.xy / determinant);
        yx = static_cast<A>(-map.yx / determinant), yy = static_cast<A>(map.xx / determinant);
        // a little more than needed, so that rounding leaves nothing out
        constexpr A kMore = static_cast<A>(1.01);
        reach_x = (absolute(xx) + absolute(xy)) * kMore + sampling.width * static_cast<A>(1e-4);
        reach_y = (absolute(yx) + absolute(yy)) * kMore + sampling.height * static_cast<A>(1e-4);
    }

    template <class S>
    __device__ A operator()(const Shape& shape, const Values<S>& from, int row, int column,
                            int channel) const {
        const A down = static_cast<A>(row) - sampling.middle_y,
                across = static_cast<A>(column) - sampling.middle_x;
        const Range<A> rows(yx * across + yy * down + sampling.middle_y, reach_y, shape.height);
        const Range<A> columns(xx * across + xy * down + sampling.middle_x, reach_x, shape.width);
        A sum{};
        for (int i = rows.first; i <= rows.last; ++i)
            for (int j = columns.first; j <= columns.last; ++j) {
                const Place<A> place = sampling.place(i, j);
                const int below = row - place.row, right = column - place.column;
                if (!place.inside || below < 0 || below > 1 || right < 0 || right > 1) continue;
                const A weight =
                    (below ? place.below : 1 - place.below) * (right ? place.right : 1 - place.right);
                sum += weight * from[shape.offset(i * shape.width + j, channel)];
            }
        return sum;
    }

  private:
    __device__ static A absolute(A value) { return value < 0 ? -value : value; }
};

}  // namespace
}  // namespace pydistill::cuda
