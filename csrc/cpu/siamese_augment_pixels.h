// siamese_augment on images as they lie in memory: color and moves. Kernel part (see isa.h).
#pragma once

#include <stddef.h>

#include "../common/siamese_augment.h"
#include "vec.h"

namespace pydistill::cpu::PD_ISA {
namespace {

using namespace pydistill::siamese_augment;

template <class T>
double sum_of(const T* x, int64_t n) {
    using A = acc_t<T>;
    constexpr int L = lanes<T>;
    constexpr int64_t kChunk = 4096;  // within which sums are kept in A
    double sum = 0;
    for (int64_t begin = 0; begin < n; begin += kChunk) {
        const int64_t end = n - begin < kChunk ? n : begin + kChunk;
        vec<A, L> s0{}, s1{}, s2{}, s3{};
        A rest{};
        int64_t i = begin;
        for (; i + 4 * L <= end; i += 4 * L) {
            s0 += load<T, L>(x + i);
            s1 += load<T, L>(x + i + L);
            s2 += load<T, L>(x + i + 2 * L);
            s3 += load<T, L>(x + i + 3 * L);
        }
        for (; i + L <= end; i += L) s0 += load<T, L>(x + i);
        for (; i < end; ++i) rest += load<T, 1>(x + i)[0];
        sum += static_cast<double>(total<A, L>((s0 + s1) + (s2 + s3)) + rest);
    }
    return sum;
}

// Color's coefficients for one image; `offset` joins what is the same for all its values.
template <class A>
struct Coefficients {
    A keep, grey, offset;
};

// NHWC: C channels side by side, a constant where known.
template <int C, class T, class U, class A>
PD_INLINE void color_pixels(const T* x, U* out, int64_t pixels, int64_t channels, Coefficients<A> k) {
    const int64_t n = C ? C : channels;
    const A share = k.grey / static_cast<A>(n);
    for (int64_t p = 0; p < pixels; ++p, x += n, out += n) {
        A sum{};
        if (share != 0)
            for (int64_t c = 0; c < n; ++c) sum += load<T, 1>(x + c)[0];
        const A shift = sum * share + k.offset;
        for (int64_t c = 0; c < n; ++c) store<U, 1>(out + c, load<T, 1>(x + c) * k.keep + shift);
    }
}

// NCHW: planes of pixels.
template <class T, class U, class A>
void color_planes(const T* x, U* out, int64_t pixels, int64_t channels, Coefficients<A> k) {
    const A share = k.grey / static_cast<A>(channels);
    over<lanes<T>>(0, pixels, [&]<int L>(int64_t p) __attribute__((always_inline)) {
        vec<A, L> shift{};
        if (k.grey != 0)
            for (int64_t c = 0; c < channels; ++c) shift += load<T, L>(x + c * pixels + p);
        shift = shift * share + k.offset;
        for (int64_t c = 0; c < channels; ++c)
            store<U, L>(out + c * pixels + p, load<T, L>(x + c * pixels + p) * k.keep + shift);
    });
}

// Color of one image, from storage type T to U; x and out may be the same.
template <class T, class U>
void color(const Job& job, const Effect& effect, const T* x, U* out) {
    using A = acc_t<T>;
    const int64_t pixels = job.height * job.width, channels = job.channels, size = pixels * channels;
    const double mean = effect.mean != 0 ? sum_of(x, size) / static_cast<double>(size) : 0;
    const Coefficients<A> k{static_cast<A>(effect.keep), static_cast<A>(effect.grey),
                            static_cast<A>(effect.mean * mean + effect.constant)};
    if (!job.channels_last)
        color_planes(x, out, pixels, channels, k);
    else if (channels == 3)
        color_pixels<3>(x, out, pixels, channels, k);
    else
        color_pixels<0>(x, out, pixels, channels, k);
}

template <class U>
PD_INLINE void clear(U* out, int64_t n) {
    __builtin_memset(out, 0, static_cast<size_t>(n) * sizeof(U));
}

template <class T, class U>
PD_INLINE void copy(const T* x, U* out, int64_t n) {
    if constexpr (sizeof(T) == sizeof(U)) {
        __builtin_memcpy(out, x, static_cast<size_t>(n) * sizeof(U));
    } else {
        over<lanes<T>>(0, n, [&]<int L>(int64_t i) __attribute__((always_inline)) {
            store<U, L>(out + i, load<T, L>(x + i));
        });
    }
}

template <class T, int L>
PD_INLINE vec<acc_t<T>, L> reversed(vec<acc_t<T>, L> v) {
    if constexpr (L == 1) {
        return v;
    } else if constexpr (L == 2) {
        return __builtin_shufflevector(v, v, 1, 0);
    } else if constexpr (L == 4) {
        return __builtin_shufflevector(v, v, 3, 2, 1, 0);
    } else if constexpr (L == 8) {
        return __builtin_shufflevector(v, v, 7, 6, 5, 4, 3, 2, 1, 0);
    } else {
        static_assert(L == 16);
        return __builtin_shufflevector(v, v, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    }
}

// n pixels of `unit` values each, the last of them first; x is the last.
template <class T, class U>
PD_INLINE void copy_mirrored(const T* x, U* out, int64_t n, int64_t unit) {
    if (unit == 1) {
        over<lanes<T>>(0, n, [&]<int L>(int64_t i) __attribute__((always_inline)) {
            store<U, L>(out + i, reversed<T, L>(load<T, L>(x - i - (L - 1))));
        });
        return;
    }
    const auto pixels = [&](int64_t begin, int64_t end) __attribute__((always_inline)) {
        for (int64_t j = begin; j < end; ++j)
            for (int64_t c = 0; c < unit; ++c)
                store<U, 1>(out + j * unit + c, load<T, 1>(x - j * unit + c));
    };
    if (unit != 3 || n < 3) return pixels(0, n);
    // A vector of four reaches into a neighbour: one that is there, and one that is written after it.
    pixels(0, 1);
    for (int64_t j = 1; j + 1 < n; ++j) store<U, 4>(out + j * 3, load<T, 4>(x - j * 3));
    pixels(n - 1, n);
}

// Moves the pixels of one image. Values are not computed with: what is moved arrives bit for bit.
template <class T, class U>
void move_image(const Job& job, const Move& move, const T* x, U* out) {
    const int64_t unit = job.channels_last ? job.channels : 1,
                  planes = job.channels_last ? 1 : job.channels;
    const int64_t height = job.height, width = job.width, line = width * unit;
    const int64_t first = move.first(width), last = move.last(width);
    const int64_t left = move.left < 0 ? 0 : move.left, right = move.right < width ? move.right : width;
    for (int64_t plane = 0; plane < planes; ++plane, x += height * line)
        for (int64_t i = 0; i < height; ++i, out += line) {
            const int64_t from = i + move.down;
            if (from < 0 || from >= height || first == last) {
                clear(out, line);
                continue;
            }
            const T* source = x + from * line + move.column(first) * unit;
            clear(out, first * unit);
            if (move.mirror)
                copy_mirrored(source, out + first * unit, last - first, unit);
            else
                copy(source, out + first * unit, (last - first) * unit);
            clear(out + last * unit, (width - last) * unit);
            if (i >= move.top && i < move.bottom && left < right)
                clear(out + left * unit, (right - left) * unit);
        }
}

}  // namespace
}  // namespace pydistill::cpu::PD_ISA
