// siamese_augment image by image: which steps a row of parameters asks for, and what lies between them.
// Kernel part (see isa.h).
#pragma once

#include "siamese_augment_lanes.h"

namespace pydistill::cpu::PD_ISA {
namespace {

// Images that are sampled together: as many as fill the lanes of a vector.
inline int64_t bundle_of(const Job& job) { return job.channels < kLanes ? kLanes / job.channels : 1; }

// What a thread works with, in the memory it is given.
template <class A>
struct Workspace {
    Taps<A> scale_taps, rotate_taps;
    Padded<A> first, second;
    Four<A>* row;
    A* images;  // a bundle, in memory order

    Workspace(const Job& job, void* memory) {
        const int64_t pixels = job.height * job.width;
        unsigned char* at = static_cast<unsigned char*>(memory);
        first = {take<Four<A>>(at, Padded<A>::size(job)), job.height, job.width};
        second = {take<Four<A>>(at, Padded<A>::size(job)), job.height, job.width};
        row = take<Four<A>>(at, job.width);
        scale_taps = {take<int32_t>(at, pixels), take<A>(at, pixels), take<A>(at, pixels)};
        rotate_taps = {take<int32_t>(at, pixels), take<A>(at, pixels), take<A>(at, pixels)};
        images = take<A>(at, bundle_of(job) * job.channels * pixels);
        first.clear(), second.clear();
    }

    static int64_t bytes(const Job& job) {
        const int64_t pixels = job.height * job.width;
        return 2 * room<Four<A>>(Padded<A>::size(job)) + room<Four<A>>(job.width) +
               2 * (room<int32_t>(pixels) + 2 * room<A>(pixels)) +
               room<A>(bundle_of(job) * job.channels * pixels);
    }

  private:
    template <class T>
    static int64_t room(int64_t n) {
        return (n * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
    }
    template <class T>
    static T* take(unsigned char*& at, int64_t n) {
        T* const taken = reinterpret_cast<T*>(at);
        at += room<T>(n);
        return taken;
    }
};

// Up to four planes of `images` images from x on, from channel `channel` on; their row 0.
template <class T>
PD_INLINE Row<T> planes_of(const Job& job, T* x, int64_t images, int64_t channel) {
    const int64_t pixels = job.height * job.width, size = pixels * job.channels;
    const int64_t each = job.channels - channel < kLanes ? job.channels - channel : kLanes;
    Row<T> row{};
    row.count = static_cast<int>(images * each);
    row.step = job.channels_last ? job.channels : 1;
    row.together = job.channels_last && job.channels >= 3;
    for (int l = 0; l < kLanes; ++l) {
        const int64_t lane = l < row.count ? l : 0;
        const int64_t c = channel + lane % each;
        row.start[l] = x + lane / each * size + (job.channels_last ? c : c * pixels);
    }
    return row;
}

template <class T>
PD_INLINE Row<T> line_of(const Job& job, Row<T> planes, int64_t i) {
    for (T*& start : planes.start) start += i * job.width * planes.step;
    return planes;
}

template <class S>
struct Forward {
    using Storage = S;
    using A = acc_t<S>;

    // Images of one row, at most a bundle.
    static void run(const Job& job, const Effect& effect, const Workspace<A>& space, const S* x, S* out,
                    int64_t images) {
        const int64_t size = job.channels * job.height * job.width;
        if (effect.samples()) {
            if (effect.color)
                for (int64_t n = 0; n < images; ++n)
                    color(job, effect, x + n * size, space.images + n * size);
            for (int64_t channel = 0; channel < job.channels; channel += kLanes) {
                const Row<S> to = planes_of(job, out, images, channel);
                if (effect.color)
                    sample(job, effect, space, planes_of<const A>(job, space.images, images, channel), to);
                else
                    sample(job, effect, space, planes_of(job, x, images, channel), to);
            }
            return;
        }
        for (int64_t n = 0; n < images; ++n, x += size, out += size) {
            if (!effect.moves) {
                effect.color ? color(job, effect, x, out) : copy(x, out, size);
            } else if (effect.color) {
                color(job, effect, x, space.images);
                move_image(job, effect.move, space.images, out);
            } else {
                move_image(job, effect.move, x, out);
            }
        }
    }

  private:
    template <class T>
    static void sample(const Job& job, const Effect& effect, const Workspace<A>& space,
                       const Row<const T>& from, const Row<S>& to) {
        move_in(job, effect.move, from, space.first);
        Padded<A> last = space.first;
        if (effect.scales && effect.rotates) {
            for (int64_t i = 0; i < job.height; ++i)
                sample_row(space.first, space.scale_taps.row(i, job.width), space.second.row(i));
            last = space.second;
        }
        const Taps<A>& taps = effect.rotates ? space.rotate_taps : space.scale_taps;
        for (int64_t i = 0; i < job.height; ++i) {
            sample_row(last, taps.row(i, job.width), space.row);
            write_row(space.row, 1, line_of(job, to, i), 0, job.width);
        }
    }

    template <class T>
    static void move_in(const Job& job, const Move& move, const Row<const T>& from, const Padded<A>& to) {
        const int64_t width = job.width, first = move.first(width), last = move.last(width);
        const Four<A> zero{};
        for (int64_t i = 0; i < job.height; ++i) {
            Four<A>* const row = to.row(i);
            const int64_t source = i + move.down;
            if (source < 0 || source >= job.height || first == last) {
                for (int64_t j = 0; j < width; ++j) row[j] = zero;
                continue;
            }
            for (int64_t j = 0; j < first; ++j) row[j] = zero;
            const Row<const T> line = line_of(job, from, source);
            if (move.mirror)  // columns fall as j rises
                read_row(line, move.column(last - 1), last - first, row + last - 1, -1);
            else
                read_row(line, move.column(first), last - first, row + first, 1);
            for (int64_t j = last; j < width; ++j) row[j] = zero;
            if (i >= move.top && i < move.bottom)
                for (int64_t j = move.left; j < move.right; ++j) row[j] = zero;
        }
    }
};

template <class S>
struct Backward {
    using Storage = S;
    using A = acc_t<S>;

    static void run(const Job& job, const Effect& effect, const Workspace<A>& space, const S* grad, S* out,
                    int64_t images) {
        const int64_t size = job.channels * job.height * job.width;
        if (effect.samples()) {
            for (int64_t channel = 0; channel < job.channels; channel += kLanes) {
                const Row<const S> from = planes_of(job, grad, images, channel);
                if (effect.color)
                    spread(job, effect, space, from, planes_of(job, space.images, images, channel));
                else
                    spread(job, effect, space, from, planes_of(job, out, images, channel));
            }
            if (effect.color)
                for (int64_t n = 0; n < images; ++n)
                    color(job, effect, space.images + n * size, out + n * size);
            return;
        }
        const Move move = effect.adjoint_move(job.width);
        for (int64_t n = 0; n < images; ++n, grad += size, out += size) {
            if (!effect.moves) {
                effect.color ? color(job, effect, grad, out) : copy(grad, out, size);
            } else if (effect.color) {
                move_image(job, move, grad, space.images);
                color(job, effect, space.images, out);
            } else {
                move_image(job, move, grad, out);
            }
        }
    }

  private:
    template <class T>
    static void spread(const Job& job, const Effect& effect, const Workspace<A>& space,
                       const Row<const S>& from, const Row<T>& to) {
        space.first.clear();
        const Taps<A>& taps = effect.rotates ? space.rotate_taps : space.scale_taps;
        for (int64_t i = 0; i < job.height; ++i) {
            read_row(line_of(job, from, i), 0, job.width, space.row, 1);
            spread_row(space.row, taps.row(i, job.width), space.first);
        }
        Padded<A> last = space.first;
        if (effect.scales && effect.rotates) {
            space.second.clear();
            for (int64_t i = 0; i < job.height; ++i)
                spread_row(space.first.row(i), space.scale_taps.row(i, job.width), space.second);
            last = space.second;
        }
        move_out(job, effect.adjoint_move(job.width), last, to);
    }

    template <class T>
    static void move_out(const Job& job, const Move& move, const Padded<A>& from, const Row<T>& to) {
        const int64_t width = job.width, first = move.first(width), last = move.last(width);
        const int64_t left = move.left < 0 ? 0 : move.left, right = move.right < width ? move.right : width;
        for (int64_t i = 0; i < job.height; ++i) {
            const Row<T> row = line_of(job, to, i);
            const int64_t source = i + move.down;
            if (source < 0 || source >= job.height || first == last) {
                clear_row(row, 0, width);
                continue;
            }
            clear_row(row, 0, first);
            write_row(from.row(source) + move.column(first), move.mirror ? -1 : 1, row, first,
                      last - first);
            clear_row(row, last, width - last);
            if (i >= move.top && i < move.bottom && left < right) clear_row(row, left, right - left);
        }
    }
};

inline bool same_row(const float* a, const float* b) {
    return a == b || __builtin_memcmp(a, b, kColumns * sizeof(float)) == 0;
}

// Images from `begin` to `end`, in runs that share a row of parameters.
template <class Direction>
void over_images(const Job& job, int64_t begin, int64_t end, void* memory) {
    using S = typename Direction::Storage;
    using A = acc_t<S>;
    const Workspace<A> space(job, memory);
    const int64_t size = job.channels * job.height * job.width, bundle = bundle_of(job);
    const auto row_of = [&](int64_t n) { return job.values + job.rows[n] * kColumns; };
    while (begin < end) {
        const float* row = row_of(begin);
        int64_t stop = begin + 1;
        while (stop < end && same_row(row, row_of(stop))) ++stop;
        const double turned = row[angle];
        const Effect effect(row, __builtin_cos(turned), __builtin_sin(turned), job);
        if (effect.scales) make_taps(job, effect.scale, space.scale_taps);
        if (effect.rotates) make_taps(job, effect.rotation, space.rotate_taps);
        for (; begin < stop; begin += bundle) {
            const int64_t images = stop - begin < bundle ? stop - begin : bundle;
            Direction::run(job, effect, space, static_cast<const S*>(job.x) + begin * size,
                           static_cast<S*>(job.out) + begin * size, images);
        }
        begin = stop;
    }
}

}  // namespace
}  // namespace pydistill::cpu::PD_ISA
