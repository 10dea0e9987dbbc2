// siamese_augment's sampling: four planes at once, a pixel of each side by side in one vector, so that
// every place and weight is read once for four values and neighbours are loaded whole. Kernel part (see
// isa.h).
#pragma once

#include "siamese_augment_pixels.h"

namespace pydistill::cpu::PD_ISA {
namespace {

constexpr int kLanes = 4;
template <class A>
using Four = vec<A, kLanes>;

// One row of up to four planes as it lies in memory: lane l begins at start[l], pixels are `step` apart.
template <class T>
struct Row {
    T* start[kLanes];
    int64_t step;
    int count;      // lanes in use; the others repeat the first
    bool together;  // the lanes of a pixel are neighbours
};

template <class A>
PD_INLINE void transpose(Four<A>* v) {
    const auto a = __builtin_shufflevector(v[0], v[1], 0, 4, 1, 5);
    const auto b = __builtin_shufflevector(v[2], v[3], 0, 4, 1, 5);
    const auto c = __builtin_shufflevector(v[0], v[1], 2, 6, 3, 7);
    const auto d = __builtin_shufflevector(v[2], v[3], 2, 6, 3, 7);
    v[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5);
    v[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
    v[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5);
    v[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
}

// Pixels [from, from + n) of a row into out[0], out[by], out[2 by], ...
template <class T>
PD_INLINE void read_row(const Row<const T>& row, int64_t from, int64_t n, Four<acc_t<T>>* out, int64_t by) {
    using A = acc_t<T>;
    int64_t j = 0;
    if (row.step == 1) {
        for (; j + kLanes <= n; j += kLanes) {
            Four<A> v[kLanes];
            for (int l = 0; l < kLanes; ++l) v[l] = load<T, kLanes>(row.start[l] + from + j);
            transpose<A>(v);
            for (int l = 0; l < kLanes; ++l) out[(j + l) * by] = v[l];
        }
    } else if (row.together) {  // a vector reaches into the next pixel: the last one is left out
        for (; j + 1 < n; ++j) out[j * by] = load<T, kLanes>(row.start[0] + (from + j) * row.step);
    }
    for (; j < n; ++j) {
        Four<A> v;
        for (int l = 0; l < kLanes; ++l) v[l] = load<T, 1>(row.start[l] + (from + j) * row.step)[0];
        out[j * by] = v;
    }
}

// v[0], v[by], v[2 by], ... into pixels [to, to + n) of a row.
template <class T>
PD_INLINE void write_row(const Four<acc_t<T>>* v, int64_t by, const Row<T>& row, int64_t to, int64_t n) {
    using A = acc_t<T>;
    int64_t j = 0;
    if (row.step == 1) {
        for (; j + kLanes <= n; j += kLanes) {
            Four<A> four[kLanes];
            for (int l = 0; l < kLanes; ++l) four[l] = v[(j + l) * by];
            transpose<A>(four);
            for (int l = 0; l < row.count; ++l) store<T, kLanes>(row.start[l] + to + j, four[l]);
        }
    } else if (row.together && (row.count == kLanes || row.count == row.step)) {
        // A vector may reach into the next pixel, which is written after it.
        for (; j + 1 < n; ++j) store<T, kLanes>(row.start[0] + (to + j) * row.step, v[j * by]);
    }
    for (; j < n; ++j)
        for (int l = 0; l < row.count; ++l)
            store<T, 1>(row.start[l] + (to + j) * row.step, vec<A, 1>{v[j * by][l]});
}

template <class T>
PD_INLINE void clear_row(const Row<T>& row, int64_t to, int64_t n) {
    for (int l = 0; l < row.count; ++l)
        for (int64_t j = 0; j < n; ++j) row.start[l][(to + j) * row.step] = T{};
}

// Four planes within a margin, so that whatever is sampled is there: a row and a column before the first,
// two rows and a column behind the last, and one vector more for places that rounding puts at the far end.
template <class A>
struct Padded {
    Four<A>* start;
    int64_t height, width;

    static int64_t size(const Job& job) { return (job.height + 3) * (job.width + 2) + 1; }
    int64_t line() const { return width + 2; }
    Four<A>* row(int64_t i) const { return start + (i + 1) * line() + 1; }
    void clear() const {
        __builtin_memset(start, 0, static_cast<size_t>((height + 3) * line() + 1) * sizeof(Four<A>));
    }
};

// Where pixels are sampled: the upper left of four in a Padded, and how far below and right of it.
template <class A>
struct Taps {
    int32_t* at;
    A *below, *right;

    Taps row(int64_t i, int64_t width) const {
        return {at + i * width, below + i * width, right + i * width};
    }
};

template <class A>
void make_taps(const Job& job, const Map& map, const Taps<A>& taps) {
    const Sampling<double> sampling(map, job.height, job.width);
    const int32_t line = static_cast<int32_t>(job.width) + 2;
    const double nowhere = static_cast<double>(job.height + 1);  // the margin's last rows
    constexpr int kMost = PD_VECTOR_BYTES / 8;
    double counts[kMost];
    for (int l = 0; l < kMost; ++l) counts[l] = l;
    for (int64_t i = 0; i < job.height; ++i) {
        const auto [at, below, right] = taps.row(i, job.width);
        const double down = static_cast<double>(i) - sampling.middle_y;
        over<kMost>(0, job.width, [&]<int L>(int64_t j) __attribute__((always_inline)) {
            using V = vec<double, L>;
            V y, x;
            const V across = load<double, L>(counts) + (static_cast<double>(j) - sampling.middle_x);
            sampling.coordinates(down, across, y, x);
            // From the margin's corner on, where whole numbers are had by leaving out the fraction.
            const auto inside = (y > -1) & (y < sampling.height) & (x > -1) & (x < sampling.width);
            y = inside ? y + 1 : V{} + nowhere;
            x = inside ? x + 1 : V{};
            const auto row = __builtin_convertvector(y, vec<int32_t, L>);
            const auto column = __builtin_convertvector(x, vec<int32_t, L>);
            store_raw<int32_t, L>(at + j, row * line + column);
            const V fraction_y = y - __builtin_convertvector(row, V);
            const V fraction_x = x - __builtin_convertvector(column, V);
            store_raw<A, L>(below + j, __builtin_convertvector(fraction_y, vec<A, L>));
            store_raw<A, L>(right + j, __builtin_convertvector(fraction_x, vec<A, L>));
        });
    }
}

// A row of sampled pixels.
template <class A>
PD_INLINE void sample_row(const Padded<A>& from, const Taps<A>& taps, Four<A>* out) {
    const int64_t line = from.line();
    for (int64_t j = 0; j < from.width; ++j) {
        const Four<A>* p = from.start + taps.at[j];
        const A right = taps.right[j], below = taps.below[j];
        const Four<A> upper = p[0] + (p[1] - p[0]) * right;
        const Four<A> lower = p[line] + (p[line + 1] - p[line]) * right;
        out[j] = upper + (lower - upper) * below;
    }
}

// Its adjoint: a row of pixels spread over those they are sampled from.
template <class A>
PD_INLINE void spread_row(const Four<A>* row, const Taps<A>& taps, const Padded<A>& to) {
    const int64_t line = to.line();
    for (int64_t j = 0; j < to.width; ++j) {
        Four<A>* p = to.start + taps.at[j];
        const Four<A> lower = row[j] * taps.below[j], upper = row[j] - lower;
        const Four<A> lower_right = lower * taps.right[j], upper_right = upper * taps.right[j];
        p[0] += upper - upper_right;
        p[1] += upper_right;
        p[line] += lower - lower_right;
        p[line + 1] += lower_right;
    }
}

}  // namespace
}  // namespace pydistill::cpu::PD_ISA
