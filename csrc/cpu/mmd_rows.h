// Rows of one set against all rows of both: a tile of products becomes distances, kernels, sums and
// weights. Kernel part (see isa.h).
#pragma once

#include "mmd_tiles.h"
#include "vec_math.h"

namespace pydistill::cpu::PD_ISA {
namespace {

using mmd::Part;

// Below this share of the rows' squared norms a squared distance is computed from the rows themselves: as a
// difference of norms and product it would have too few digits.
constexpr double kNear = 1.0 / 128;

// e^x for x <= 0, and 0 where it nears the end of the normal range: products of subnormal weights would
// take many times as long on some processors. In float the arithmetic, and error, of exponential() without
// what other arguments need: the loop over pairs takes a quarter less time.
template <class V>
PD_INLINE V decay(V x) {
    if constexpr (sizeof(lane_t<V>) == 4) {
        constexpr float kShift = 12582912.0f;  // 1.5 2^23: adding it leaves a whole number in the low bits
        constexpr float kTaylor[] = {1.0f,          1.0f,        4.9999994e-1f, 1.6666521e-1f,
                                     4.1668348e-2f, 8.36871e-3f, 1.3816757e-3f};
        const V shifted = x * 1.44269504f + kShift;
        const V n = shifted - kShift;
        const V r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
        const V power = reinterpret_cast<V>((reinterpret_cast<whole_t<V>>(shifted) << 23) + 0x3f800000);
        return x < -80.0f ? V{} : polynomial(r, kTaylor) * power;
    } else {
        return x < -700.0 ? V{} : exponential(x);
    }
}

// What a thread works in.
template <class A>
struct Scratch {
    A apart[kRows * kLine];   // products, then distances, then weights of a - b
    A turned[kRows * kLine];  // of second derivatives: products with directions, then weights of u - v
    double apart_sums[kRows], turned_sums[kRows];
    int64_t near[kColumns];
};

// Rows of set `set` that meet those of set `other`.
template <class A>
struct Meeting {
    const View<A>& view;
    int64_t batch;
    int set, other;
    bool above;  // each pair once, for the value alone

    const A *weights, *rows, *others, *turns, *other_turns;

    Meeting(const View<A>& view_, int64_t batch_, int set_, int other_)
        : view(view_), batch(batch_), set(set_), other(other_) {
        const Job& job = view.job;
        above = set == other && !job.gradients[set];
        weights = static_cast<const A*>(job.weights) + batch * job.bandwidths;
        rows = view.rows(job.sets, batch, set), others = view.rows(job.sets, batch, other);
        turns = view.rows(job.directions, batch, set),
        other_turns = view.rows(job.directions, batch, other);
    }
    PD_INLINE A factor() const { return static_cast<A>(view.job.factor(set == other, set)); }
};

// (a - b)(a - b), and (a - b)(u - v) where there are directions.
template <class A>
PD_INLINE void meet(const Meeting<A>& m, int64_t row, int64_t column, A& distance, A& turn) {
    const int64_t features = m.view.job.features;
    const A *a = m.rows + row * features, *b = m.others + column * features;
    const A* u = m.turns ? m.turns + row * features : nullptr;
    const A* v = m.other_turns ? m.other_turns + column * features : nullptr;
    constexpr int L = lanes<A>;
    vec<A, L> squares{}, crossed{};
    A squares_rest{}, crossed_rest{};
    int64_t d = 0;
    for (; d + L <= features; d += L) {
        const auto apart = load<A, L>(a + d) - load<A, L>(b + d);
        squares += apart * apart;
        if (u) crossed += apart * load<A, L>(u + d);
        if (v) crossed -= apart * load<A, L>(v + d);
    }
    for (; d < features; ++d) {
        const A apart = a[d] - b[d];
        squares_rest += apart * apart;
        crossed_rest += apart * ((u ? u[d] : A{}) - (v ? v[d] : A{}));
    }
    distance = total<A, L>(squares) + squares_rest;
    turn = total<A, L>(crossed) + crossed_rest;
}

// to -= apart (a - b) + turned (u - v): `to` holds the sum over b of weights times b and v.
template <class A>
PD_INLINE void subtract(const Meeting<A>& m, int64_t row, int64_t column, A apart, A turned, A* to) {
    const int64_t features = m.view.job.features;
    const A *a = m.rows + row * features, *b = m.others + column * features;
    const A* u = m.turns ? m.turns + row * features : nullptr;
    const A* v = m.other_turns ? m.other_turns + column * features : nullptr;
    over<lanes<A>>(0, features, [&]<int L>(int64_t d) __attribute__((always_inline)) {
        auto sum = load<A, L>(to + d) - apart * (load<A, L>(a + d) - load<A, L>(b + d));
        if (u) sum -= turned * load<A, L>(u + d);
        if (v) sum += turned * load<A, L>(v + d);
        store<A, L>(to + d, sum);
    });
}

// Sum over a row of a tile, in double across vectors of it.
template <class A>
PD_INLINE double line_total(const A* line, int64_t from, int64_t to) {
    vec<A, lanes<A>> sums{};
    double sum = 0;
    over<lanes<A>>(from, to, [&]<int L>(int64_t j) __attribute__((always_inline)) {
        const auto values = load<A, L>(line + j);
        if constexpr (L == lanes<A>)
            sums += values;
        else
            sum += static_cast<double>(total<A, L>(values));
    });
    return sum + static_cast<double>(total<A, lanes<A>>(sums));
}

// Products of one row become squared distances, and products with directions t. True where some are near 0.
template <class A, bool Second>
PD_INLINE bool distances(A norm, A turn, const A* norms, const A* turns, int64_t from, int64_t to, A* apart,
                         A* turned) {
    vec<typename whole<A>::type, lanes<A>> flags{};
    bool any = false;
    over<lanes<A>>(from, to, [&]<int L>(int64_t j) __attribute__((always_inline)) {
        const auto both = norm + load<A, L>(norms + j);
        const auto distance = both - A{2} * load<A, L>(apart + j);
        store<A, L>(apart + j, distance);
        const auto close = distance < both * static_cast<A>(kNear);
        if constexpr (L == lanes<A>)
            flags |= close;
        else
            for (int l = 0; l < L; ++l) any = any || close[l];
        if constexpr (Second)
            store<A, L>(turned + j, turn + load<A, L>(turns + j) - load<A, L>(turned + j));
    });
    for (int l = 0; l < lanes<A>; ++l) any = any || flags[l];
    return any;
}

// Row `row` of a tile: its part of the value; weights in place of distances where they are wanted.
template <class A, bool Second>
double finish_row(const Meeting<A>& m, const Extent& at, int64_t row, bool want, Scratch<A>& scratch,
                  A* to) {
    const Job& job = m.view.job;
    const int64_t r = row - at.row;
    A *apart = scratch.apart + r * kLine, *turned = scratch.turned + r * kLine;
    int64_t from = m.above ? row + 1 - at.column : 0;
    if (from < 0) from = 0;
    if (from >= at.count) return 0;
    const A* norms = m.view.norms(m.batch, m.other) + at.column;
    const A* turns = Second ? m.view.turns(m.batch, m.other) + at.column : nullptr;
    const A norm = m.view.norms(m.batch, m.set)[row];
    const A turn = Second ? m.view.turns(m.batch, m.set)[row] : A{};
    int64_t near = 0;
    if (distances<A, Second>(norm, turn, norms, turns, from, at.count, apart, turned))
        for (int64_t j = from; j < at.count; ++j)
            if (apart[j] < (norm + norms[j]) * static_cast<A>(kNear)) {
                A exact;
                meet(m, row, at.column + j, apart[j], exact);
                if constexpr (Second) turned[j] = exact;
                scratch.near[near++] = j;
            }

    const A factor = m.factor();
    vec<A, lanes<A>> sums{};
    double sum = 0;
    over<lanes<A>>(from, at.count, [&]<int L>(int64_t j) __attribute__((always_inline)) {
        using V = vec<A, L>;
        const V distance = load<A, L>(apart + j);
        mmd::Kernel<V> kernel;
        for (int64_t s = 0; s < job.bandwidths; ++s)
            kernel.add(decay(distance * -m.weights[s]), m.weights[s], Second);
        V value = kernel.k;
        if constexpr (Second) value = kernel.h * load<A, L>(turned + j) * A{-2};
        if constexpr (L == lanes<A>)
            sums += value;
        else
            sum += static_cast<double>(total<A, L>(value));
        if (!want) return;
        if constexpr (Second) {
            const auto made = mmd::Weights<V>::second(kernel, load<A, L>(turned + j), factor);
            store<A, L>(apart + j, made.apart);
            store<A, L>(turned + j, made.turned);
        } else {
            store<A, L>(apart + j, mmd::Weights<V>::first(kernel, factor).apart);
        }
    });
    sum += static_cast<double>(total<A, lanes<A>>(sums));
    if (!want) return sum;

    for (int64_t n = 0; n < near; ++n) {
        const int64_t j = scratch.near[n];
        subtract(m, row, at.column + j, apart[j], Second ? turned[j] : A{}, to);
        apart[j] = A{};
        if constexpr (Second) turned[j] = A{};
    }
    scratch.apart_sums[r] += line_total(apart, 0, at.count);
    if constexpr (Second) scratch.turned_sums[r] += line_total(turned, 0, at.count);
    return sum;
}

// Rows from `row` on against all rows of a set; what they add to the value. `to` collects gradients.
template <class A, bool Second>
double meet_rows(const Meeting<A>& m, int64_t row, int64_t rows, Scratch<A>& scratch, A* to) {
    const View<A>& view = m.view;
    const Job& job = view.job;
    const Copy<A> a = view.copy(m.batch, m.set, false), b = view.copy(m.batch, m.other, false);
    const Copy<A> u = view.copy(m.batch, m.set, Second), v = view.copy(m.batch, m.other, Second);
    double value = 0;
    for (int64_t column = m.above ? row / kWide<A> * kWide<A> : 0; column < job.counts[m.other];
         column += kColumns) {
        const Extent at{row, rows, column, least(kColumns, job.counts[m.other] - column), m.above};
        products(a, b, at, false, scratch.apart);
        if constexpr (Second) {
            if (m.turns) products(u, b, at, false, scratch.turned);
            if (m.other_turns) products(a, v, at, m.turns != nullptr, scratch.turned);
            if (!m.turns && !m.other_turns)
                for (int64_t i = 0; i < rows * kLine; ++i) scratch.turned[i] = A{};
        }
        for (int64_t r = 0; r < rows; ++r)
            value += finish_row<A, Second>(m, at, row + r, to != nullptr, scratch,
                                           to ? to + r * job.features : nullptr);
        if (!to) continue;
        spread(scratch.apart, b, at, to, job.features);
        if (Second && m.other_turns) spread(scratch.turned, v, at, to, job.features);
    }
    return value;
}

// Sums of weights times b become sums of weights times a - b.
template <class A, bool Second>
void finish_gradient(const View<A>& view, int64_t batch, int set, int64_t row, int64_t rows,
                     const Scratch<A>& scratch, A* to) {
    const Job& job = view.job;
    const Copy<A> values = view.copy(batch, set, false);
    const A* turns = view.rows(job.directions, batch, set);
    const double upstream = Second ? static_cast<double>(static_cast<const A*>(job.upstream)[batch]) : 1;
    const A scale = static_cast<A>(upstream / job.pairs());
    for (int64_t r = 0; r < rows; ++r, to += job.features) {
        const A apart = static_cast<A>(scratch.apart_sums[r]),
                turned = static_cast<A>(scratch.turned_sums[r]);
        for (int64_t first = 0; first < job.features; first += kWide<A>) {
            const A* a = values.block(first / kWide<A>, row + r);
            const A* u = turns ? turns + (row + r) * job.features + first : nullptr;
            const int64_t some = least(kWide<A>, job.features - first);
            over<lanes<A>>(0, some, [&]<int L>(int64_t e) __attribute__((always_inline)) {
                auto sum = apart * load<A, L>(a + e) - load<A, L>(to + first + e);
                if (u) sum += turned * load<A, L>(u + e);
                store<A, L>(to + first + e, sum * scale);
            });
        }
    }
}

// Rows from `row` on, at most kRows: their part of the value, and their gradients.
template <class A, bool Second>
Part run_rows(const View<A>& view, int64_t batch, int set, int64_t row, Scratch<A>& scratch) {
    const Job& job = view.job;
    const int64_t rows = least(kRows, job.counts[set] - row);
    A* to = static_cast<A*>(job.gradients[set]);
    if (to) {
        to += (batch * job.counts[set] + row) * job.features;
        for (int64_t i = 0; i < rows * job.features; ++i) to[i] = A{};
        for (int64_t r = 0; r < rows; ++r) scratch.apart_sums[r] = scratch.turned_sums[r] = 0;
    }
    Part part{0, 0};
    if (job.meets_own(set)) {
        const Meeting<A> own(view, batch, set, set);
        part.own = meet_rows<A, Second>(own, row, rows, scratch, to);
        double alone = 0;  // a row against itself, which is at distance 0
        if constexpr (!Second) alone = static_cast<double>(rows * job.bandwidths);
        if (own.above)
            part.own = 2 * part.own + (job.unbiased ? 0 : alone);
        else
            part.own -= job.unbiased ? alone : 0;
    }
    if (job.meets_other(set)) {
        const Meeting<A> other(view, batch, set, 1 - set);
        const double value = meet_rows<A, Second>(other, row, rows, scratch, to);
        if (job.owner() == set) part.other = value;
    }
    if (to) finish_gradient<A, Second>(view, batch, set, row, rows, scratch, to);
    return part;
}

}  // namespace
}  // namespace pydistill::cpu::PD_ISA
