// gram over blocks of rows: a chunk of columns of one row at a time, small enough to stay in the first
// cache between its base, its repair and its profile. Kernel part (see isa.h).
#pragma once

#include "../common/gram_entry.h"
#include "vec_math.h"

namespace pydistill::cpu::PD_ISA {
namespace {

using namespace pydistill::gram;

struct VectorMath {
    template <class V>
    PD_INLINE static V exp(V x) {
        return exponential(x);
    }
    template <class V>
    PD_INLINE static V root(V x) {
        return PD_ISA::root(x);
    }
    template <class V>
    PD_INLINE static V angle_of_gap(V u) {
        return PD_ISA::angle_of_gap(u);
    }
};

template <class A>
constexpr int64_t kChunk = 2048 / sizeof(A);

// A full register from the first `left` numbers at p, the rest 0; and back.
template <class A>
PD_INLINE vec<A, lanes<A>> load_some(const A* p, int64_t left) {
    if (left >= lanes<A>) return load<A, lanes<A>>(p);
    vec<A, lanes<A>> v{};
    for (int64_t l = 0; l < left; ++l) v[l] = p[l];
    return v;
}
template <class A>
PD_INLINE void store_some(A* p, vec<A, lanes<A>> v, int64_t left) {
    if (left >= lanes<A>) return store<A, lanes<A>>(p, v);
    for (int64_t l = 0; l < left; ++l) p[l] = v[l];
}

// The first `left` lanes, the rest 0.
template <class V>
PD_INLINE V keep_some(V v, int64_t left) {
    for (int64_t l = left; l < lanes_of<V>; ++l) v[l] = 0;
    return v;
}

template <class A>
A sum_of_squares(const A* x, int64_t size) {
    constexpr int L = lanes<A>;
    vec<A, L> sums[4]{};
    int64_t i = 0;
    for (; i + 4 * L <= size; i += 4 * L)
        for (int k = 0; k < 4; ++k) {
            const auto v = load<A, L>(x + i + k * L);
            sums[k] += v * v;
        }
    for (; i < size; i += L) {
        const auto v = load_some(x + i, size - i);
        sums[0] += v * v;
    }
    return total<A, L>((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

// The base of one entry from the rows themselves: nothing cancels.
template <class A, Family F>
A exact_base(const A* x, const A* y, int64_t size, A x_inverse, A y_inverse, bool negative) {
    constexpr int L = lanes<A>;
    vec<A, L> sums[2]{};
    int64_t i = 0;
    const auto step = [&](int64_t at, int k) __attribute__((always_inline)) {
        const auto d = difference_of<A, F>(load_some(x + at, size - at), load_some(y + at, size - at),
                                           x_inverse, y_inverse, negative);
        sums[k] += d * d;
    };
    for (; i + 2 * L <= size; i += 2 * L) step(i, 0), step(i + L, 1);
    for (; i < size; i += L) step(i, 0);
    const A sum = total<A, L>(sums[0] + sums[1]);
    return F == Family::distance ? sum : signed_gap<A>(A{0.5} * sum, negative ? A{-1} : A{1});
}

// What is known of a chunk's columns, padded with rows of zeros to full registers.
template <class A, bool Second>
struct Columns {
    alignas(64) A square[kChunk<A>], norm[kChunk<A>], inverse[kChunk<A>], h[Second ? kChunk<A> : 1];

    void set(const A* squares, const A* directions, int64_t count) {
        constexpr int L = lanes<A>;
        for (int64_t j = 0; j < count; j += L) {
            const auto side = side_of<A, VectorMath>(load_some(squares + j, count - j));
            store<A, L>(square + j, side.square);
            store<A, L>(norm + j, side.norm);
            store<A, L>(inverse + j, side.inverse);
            if constexpr (Second) store<A, L>(h + j, load_some(directions + j, count - j));
        }
    }
    PD_INLINE Side<vec<A, lanes<A>>> side(int64_t j) const {
        return {load<A, lanes<A>>(square + j), load<A, lanes<A>>(norm + j), load<A, lanes<A>>(inverse + j)};
    }
};

// Blocks of kBlockRows rows from `begin` to `end`. P is a profile, Order 0 the matrix, 1 its gradient, 2
// the gradient's.
template <int Order, class A, template <class, class> class P>
void over_rows(const Job& job, int64_t begin, int64_t end) {
    constexpr int L = lanes<A>;
    using V = vec<A, L>;
    using Shape = P<A, VectorMath>;
    constexpr Family F = Shape::family;
    const Profile<A> profile(job);
    const int64_t blocks = (job.rows + kBlockRows - 1) / kBlockRows;
    const auto at = [](const void* p, int64_t offset) { return static_cast<const A*>(p) + offset; };
    Columns<A, Order == 2> columns;
    alignas(64) A bases[kChunk<A>], column_sums[kChunk<A>];
    V row_sums[kBlockRows];
    for (int64_t item = begin; item < end; ++item) {
        const int64_t batch = item / blocks, first = item % blocks * kBlockRows;
        const int64_t count = job.rows - first < kBlockRows ? job.rows - first : kBlockRows;
        for (int64_t r = 0; r < count; ++r) row_sums[r] = V{};
        for (int64_t from = 0; from < job.columns; from += kChunk<A>) {
            const int64_t width = job.columns - from < kChunk<A> ? job.columns - from : kChunk<A>;
            const int64_t to_columns = batch * job.columns + from;
            columns.set(at(job.qy, to_columns), Order == 2 ? at(job.hy, to_columns) : nullptr, width);
            if constexpr (Order > 0)
                for (int64_t j = 0; j < width; j += L) store<A, L>(column_sums + j, V{});
            for (int64_t r = 0; r < count; ++r) {
                const int64_t row = batch * job.rows + first + r, entry = row * job.columns + from;
                const auto mine = side_of<A, VectorMath>(broadcast<A, 1>(at(job.qx, row)[0]));
                const Side<V> side{broadcast<A, L>(mine.square[0]), broadcast<A, L>(mine.norm[0]),
                                   broadcast<A, L>(mine.inverse[0])};
                const A* s = at(job.s, entry);
                whole_t<V> doubtful{};
                for (int64_t j = 0; j < width; j += L) {
                    const Side<V> other = columns.side(j);
                    const V base = base_of<A, F>(load_some(s + j, width - j), side, other);
                    if constexpr (F != Family::dot) doubtful |= is_doubtful<A, F>(base, side, other);
                    store<A, L>(bases + j, base);
                }
                if (F != Family::dot && any(doubtful)) {
                    const A* x = at(job.x, row * job.features);
                    for (int64_t j = 0; j < width; ++j) {
                        const Side<A> own{mine.square[0], mine.norm[0], mine.inverse[0]};
                        const Side<A> other{columns.square[j], columns.norm[j], columns.inverse[j]};
                        if (is_doubtful<A, F>(bases[j], own, other))
                            bases[j] =
                                exact_base<A, F>(x, at(job.y, (to_columns + j) * job.features),
                                                 job.features, own.inverse, other.inverse, bases[j] < 0);
                    }
                }
                const A* grad = Order > 0
                                    ? at(job.grad, batch * job.grad_batch + (first + r) * job.grad_row +
                                                       from * job.grad_column)
                                    : nullptr;
                for (int64_t j = 0; j < width; j += L) {
                    const int64_t left = width - j;
                    const V base = load<A, L>(bases + j);
                    const Side<V> other = columns.side(j);
                    const V products = load_some(s + j, left);
                    if constexpr (Order == 0) {
                        const auto parts =
                            entry_of<0, A, Shape>(profile, base, products, side, other, V{}, V{}, V{}, V{});
                        store_some(static_cast<A*>(job.out) + entry + j, parts.out, left);
                    } else {
                        const V g = job.grad_column ? load_some(grad + j, left) : broadcast<A, L>(*grad);
                        V hs{}, hx{}, hy{};
                        if constexpr (Order == 2) {
                            hs = load_some(at(job.hs, entry) + j, left);
                            hx = broadcast<A, L>(at(job.hx, row)[0]);
                            hy = load<A, L>(columns.h + j);
                        }
                        const auto parts =
                            entry_of<Order, A, Shape>(profile, base, products, side, other, g, hs, hx, hy);
                        if constexpr (Order == 2)
                            store_some(static_cast<A*>(job.out) + entry + j, parts.out, left);
                        store_some(static_cast<A*>(job.grad_s) + entry + j, parts.s, left);
                        if constexpr (F != Family::dot) {
                            row_sums[r] += keep_some(parts.row, left);
                            store<A, L>(column_sums + j, load<A, L>(column_sums + j) + parts.column);
                        }
                    }
                }
            }
            if constexpr (Order > 0) {
                A* sums = static_cast<A*>(job.column_parts) + item * job.columns + from;
                for (int64_t j = 0; j < width; j += L)
                    store_some(sums + j, load<A, L>(column_sums + j), width - j);
            }
        }
        if constexpr (Order > 0)
            for (int64_t r = 0; r < count; ++r)
                static_cast<A*>(job.row_parts)[batch * job.rows + first + r] = total<A, L>(row_sums[r]);
    }
}

}  // namespace
}  // namespace pydistill::cpu::PD_ISA
