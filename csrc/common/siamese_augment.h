// What a row of parameters does to an image. Everything is linear in the image, but for the brightness.
//
// With m a pixel's mean over channels, M the image's mean, b, s, c brightness, saturation and contrast:
//   color   y = c s x + c (1 - s) m + (1 - c) M + b
//   move    shift by whole pixels, clear a window, mirror: each pixel is one pixel of the input, or zero
//   scale   bilinear sampling at the diagonal matrix (scale_x, scale_y) times the offset from the centre
//   rotate  bilinear sampling at the rotation by the angle times the offset from the centre
// in this order, each left out where its parameters are at their identity. Averaging over channels or over
// the image is an orthogonal projection, so that color without b is its own adjoint; the adjoint of a move
// is a move; that of sampling spreads a pixel over the four it was blended from.
#pragma once

#include "formula.h"

namespace pydistill::siamese_augment {

enum class Storage { f32, f64, b16 };

constexpr int kColumns = 13;
enum Column {
    brightness,
    saturation,
    contrast,
    shift_y,
    shift_x,
    cut_top,
    cut_left,
    cut_bottom,
    cut_right,
    flip,
    scale_y,
    scale_x,
    angle
};

// What a kernel works on. x, out (N, C, H, W) in one order; values (G, 13); rows (N).
struct Job {
    Storage storage;
    bool channels_last, constant;  // constant: whether the brightness is added
    int64_t count, channels, height, width, groups;
    const void* x;
    const float* values;
    const int64_t* rows;
    void* out;
};

// `value` without its fraction, at most `limit` away from 0.
PD_FORMULA int64_t whole(float value, int64_t limit) {
    const float most = static_cast<float>(limit);
    if (!(value < most)) return value == value ? limit : 0;
    return value > -most ? static_cast<int64_t>(value) : -limit;
}
// The first whole number that is not below `value`, out of 0 to `limit`.
PD_FORMULA int64_t first_whole(float value, int64_t limit) {
    if (!(value > 0)) return 0;
    const int64_t floor = whole(value, limit);
    return floor + (static_cast<float>(floor) < value && floor < limit);
}

// Pixel (i, j) of the result is pixel (i + down, across + j) of the input, or (i + down, across - j) where
// mirrored; it is zero where there is none, and in the window [top, bottom) x [left, right) of the result.
struct Move {
    int64_t down, across;
    bool mirror;
    int64_t top, left, bottom, right;

    PD_FORMULA int64_t column(int64_t j) const { return mirror ? across - j : across + j; }
    PD_FORMULA bool cut(int64_t i, int64_t j) const {
        return i >= top && i < bottom && j >= left && j < right;
    }
    // Columns [first, last) of the result that come from a column of an input of this width.
    PD_FORMULA int64_t first(int64_t width) const {
        const int64_t j = mirror ? across - width + 1 : -across;
        return j < 0 ? 0 : j > width ? width : j;
    }
    PD_FORMULA int64_t last(int64_t width) const {
        const int64_t j = mirror ? across + 1 : width - across, low = first(width);
        return j < low ? low : j > width ? width : j;
    }
};

// Where a pixel of the result is sampled: its offset (x, y) from the centre times a matrix.
struct Map {
    double xx, xy, yx, yy;
};

// The pixel that lies above and left of a place, and how far the place lies below and right of it.
template <class A>
struct Place {
    bool inside;  // whether any pixel of the image is nearer than 1 in both directions
    int row, column;
    A below, right;
};

template <class A>
struct Sampling {
    A xx, xy, yx, yy, middle_x, middle_y, height, width;

    PD_FORMULA Sampling(const Map& map, int64_t height_, int64_t width_)
        : xx(static_cast<A>(map.xx)),
          xy(static_cast<A>(map.xy)),
          yx(static_cast<A>(map.yx)),
          yy(static_cast<A>(map.yy)),
          middle_x(static_cast<A>(width_ - 1) / 2),
          middle_y(static_cast<A>(height_ - 1) / 2),
          height(static_cast<A>(height_)),
          width(static_cast<A>(width_)) {}

    // `down` and `across` lead from the centre to a pixel of the result, several at once where V is a
    // vector.
    template <class V>
    PD_FORMULA void coordinates(A down, V across, V& y, V& x) const {
        x = across * xx + (down * xy + middle_x);
        y = across * yx + (down * yy + middle_y);
    }
    PD_FORMULA Place<A> place(int i, int j) const {
        A y, x;
        coordinates(static_cast<A>(i) - middle_y, static_cast<A>(j) - middle_x, y, x);
        if (!(y > -1 && y < height && x > -1 && x < width)) return {false, 0, 0, A{}, A{}};
        int row = static_cast<int>(y), column = static_cast<int>(x);
        row -= static_cast<A>(row) > y;
        column -= static_cast<A>(column) > x;
        return {true, row, column, y - static_cast<A>(row), x - static_cast<A>(column)};
    }
};

// A row of parameters for images of one size.
struct Effect {
    bool color, moves, scales, rotates;
    double keep, grey, mean, constant;  // color: y = keep x + grey m + mean M + constant
    Move move;
    Map scale, rotation;

    // `cosine` and `sine` are those of the angle.
    PD_FORMULA Effect(const float* row, double cosine, double sine, const Job& job) {
        const double b = row[brightness], s = row[saturation], c = row[contrast];
        color = b != 0 || s != 1 || c != 1;
        // one channel is its own mean
        keep = job.channels == 1 ? c : c * s;
        grey = job.channels == 1 ? 0 : c * (1 - s);
        mean = 1 - c;
        constant = job.constant ? b : 0;
        const int64_t height = job.height, width = job.width;
        const int64_t y = whole(row[shift_y], height), x = whole(row[shift_x], width);
        const int64_t left = first_whole(row[cut_left], width), right = first_whole(row[cut_right], width);
        const bool mirror = row[flip] != 0;
        move.down = y;
        move.across = mirror ? width - 1 + x : x;
        move.mirror = mirror;
        move.top = first_whole(row[cut_top], height);
        move.bottom = first_whole(row[cut_bottom], height);
        move.left = mirror ? width - right : left;
        move.right = mirror ? width - left : right;
        moves = mirror || y != 0 || x != 0 || (move.top < move.bottom && left < right);
        scales = row[scale_y] != 1 || row[scale_x] != 1;
        scale = {row[scale_x], 0, 0, row[scale_y]};
        rotates = row[angle] != 0;
        rotation = {cosine, -sine, sine, cosine};
    }

    PD_FORMULA bool samples() const { return scales || rotates; }

    // The move that takes a gradient of the result back to the input.
    PD_FORMULA Move adjoint_move(int64_t width) const {
        const int64_t x = move.mirror ? move.across - (width - 1) : move.across, y = move.down;
        const int64_t left = move.mirror ? width - move.right : move.left;
        const int64_t right = move.mirror ? width - move.left : move.right;
        return {
            -y,       move.mirror ? move.across : -x, move.mirror, move.top + y, left + x, move.bottom + y,
            right + x};
    }
};

}  // namespace pydistill::siamese_augment
