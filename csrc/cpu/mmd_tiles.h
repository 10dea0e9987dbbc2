// Tiles of mmd: copies of the sets in the order that products read them, and the products of tiles. Kernel
// part (see isa.h).
#pragma once

#include "../common/mmd.h"
#include "products.h"

namespace pydistill::cpu::PD_ISA {
namespace {

using mmd::Job;

// A tile of pairs, and the features that one pass of its products takes.
constexpr int64_t kRows = 96, kColumns = 192, kDepth = 128;
constexpr int64_t kSpan = 256;  // features that are averaged together: rows are read in long pieces
constexpr int64_t kLine =
    kColumns + 16;  // from row to row of a tile: no power of two, which caches dislike

// One set of one batch entry, centred: distances stay as they are, and lose fewer digits.
template <class A>
struct Copy {
    A* blocks;   // (features / kWide, rows, kWide): rows as a product's left side, features as its right
    A* columns;  // (rows / kWide, features, kWide): rows as its right side
    // Both have room for whole products. Features beyond the last are 0; rows beyond the last hold
    // anything, and so does what is computed of them, which nobody reads.
    int64_t block_rows, depth;

    // The kWide features of block `at` of row `row`.
    PD_INLINE A* block(int64_t at, int64_t row) const {
        return blocks + (at * block_rows + row) * kWide<A>;
    }
    // Feature `feature` of the kWide rows from `row` on.
    PD_INLINE A* column(int64_t row, int64_t feature) const {
        return columns + row * depth + feature * kWide<A>;
    }
};

// Where everything lies in the workspace.
template <class A>
struct View {
    const Job& job;
    A* space;
    int64_t first;  // batch entry that the workspace begins with

    explicit View(const Job& job_, const mmd::Workspace& workspace = {})
        : job(job_), space(static_cast<A*>(workspace.data)), first(workspace.first) {}

    PD_INLINE int64_t depth() const { return round_up(job.features, kWide<A>); }
    PD_INLINE int64_t copy_size(int set) const {
        const int64_t n = job.counts[set];
        return (round_up(n, kHigh) + round_up(n, kWide<A>)) * depth();
    }
    // Norms (or products with the direction) of a set's rows, from a whole cache line on.
    PD_INLINE int64_t line_size(int set) const { return round_up(job.counts[set], 32); }
    PD_INLINE int64_t set_size(int set) const {
        return (1 + job.second) * (line_size(set) + copy_size(set));
    }
    PD_INLINE int64_t size() const { return round_up(depth() + set_size(0) + set_size(1), 32); }

    PD_INLINE A* centre(int64_t batch) const { return space + (batch - first) * size(); }
    PD_INLINE A* of_set(int64_t batch, int set) const {
        return centre(batch) + depth() + (set ? set_size(0) : 0);
    }
    PD_INLINE A* norms(int64_t batch, int set) const { return of_set(batch, set); }
    PD_INLINE A* turns(int64_t batch, int set) const { return of_set(batch, set) + line_size(set); }
    PD_INLINE Copy<A> copy(int64_t batch, int set, bool direction) const {
        A* at = of_set(batch, set) + (1 + job.second) * line_size(set);
        if (direction) at += copy_size(set);
        const int64_t rows = round_up(job.counts[set], kHigh);
        return {at, at + rows * depth(), rows, depth()};
    }
    PD_INLINE const A* rows(const void* const (&from)[2], int64_t batch, int set) const {
        const A* base = static_cast<const A*>(from[set]);
        return base ? base + batch * job.counts[set] * job.features : nullptr;
    }
};

// The mean of both sets' rows, for kSpan features. Features beyond the last, which fill a block up, are 0.
template <class A>
void centre_span(const View<A>& view, int64_t batch, int64_t first) {
    const Job& job = view.job;
    const int64_t some = least(kSpan, job.features - first);
    double sums[kSpan]{};
    for (int set = 0; set < 2; ++set) {
        const A* row = view.rows(job.sets, batch, set) + first;
        for (int64_t n = 0; n < job.counts[set]; ++n, row += job.features)
            for (int64_t e = 0; e < some; ++e) sums[e] += static_cast<double>(row[e]);
    }
    A* to = view.centre(batch) + first;
    const double inverse = 1 / static_cast<double>(job.counts[0] + job.counts[1]);
    for (int64_t e = 0; e < least(kSpan, view.depth() - first); ++e)
        to[e] = static_cast<A>(sums[e] * inverse);
}

// Rows from `begin` to `end` in both orders, less `centre` where there is one; zeros fill up features.
template <class A>
void copy_rows(const A* from, const A* centre, const Copy<A>& to, int64_t begin, int64_t end,
               int64_t features) {
    constexpr int W = kWide<A>, L = lanes<A>;
    A line[W];
    for (int64_t panel = begin; panel < end; panel += W)
        for (int64_t first = 0; first < features; first += W) {
            const int64_t some = least(W, features - first);
            A* column = to.column(panel, first);
            for (int64_t row = panel; row < least(panel + W, end); ++row, ++column) {
                const A* source = from + row * features + first;
                if (some < W) {
                    for (int64_t e = 0; e < W; ++e) line[e] = e < some ? source[e] : A{};
                    source = line;
                }
                auto low = load<A, L>(source), high = load<A, L>(source + L);
                if (centre) low -= load<A, L>(centre + first), high -= load<A, L>(centre + first + L);
                A* const left = to.block(first / W, row);
                store<A, L>(left, low), store<A, L>(left + L, high);
#pragma GCC unroll 32
                for (int e = 0; e < W; ++e) column[e * W] = left[e];
            }
        }
}

// Sum of a's products with b over the features of one row.
template <class A>
PD_INLINE A row_product(const Copy<A>& a, const Copy<A>& b, int64_t row) {
    constexpr int L = lanes<A>;
    vec<A, L> low{}, high{};
    for (int64_t block = 0; block < a.depth / kWide<A>; ++block) {
        const A *p = a.block(block, row), *q = b.block(block, row);
        low += load<A, L>(p) * load<A, L>(q);
        high += load<A, L>(p + L) * load<A, L>(q + L);
    }
    return total<A, L>(low + high);
}

// Both copies of rows from `begin` to `end`, their norms, and their products with the directions.
template <class A>
void prepare_rows(const View<A>& view, int64_t batch, int set, int64_t begin, int64_t end) {
    const Job& job = view.job;
    const Copy<A> values = view.copy(batch, set, false);
    copy_rows(view.rows(job.sets, batch, set), view.centre(batch), values, begin, end, job.features);
    A* norms = view.norms(batch, set);
    for (int64_t row = begin; row < end; ++row) norms[row] = row_product(values, values, row);
    if (!job.second) return;
    A* turns = view.turns(batch, set);
    const A* direction = view.rows(job.directions, batch, set);
    const Copy<A> turned = view.copy(batch, set, true);
    if (direction) copy_rows(direction, static_cast<const A*>(nullptr), turned, begin, end, job.features);
    for (int64_t row = begin; row < end; ++row)
        turns[row] = direction ? row_product(values, turned, row) : A{};
}

// Rows of a by `count` rows of b, from b's row `column` on.
struct Extent {
    int64_t row, rows, column, count;
    bool above;  // only pairs whose column in the matrix of all pairs is beyond the row are needed
};

// tile[i, j] = a_i b_j, or that added.
template <class A>
void products(const Copy<A>& a, const Copy<A>& b, const Extent& at, bool add, A* tile) {
    constexpr int W = kWide<A>;
    for (int64_t depth = 0; depth < a.depth; depth += kDepth)
        for (int64_t j = 0; j < at.count; j += W)
            for (int64_t i = 0; i < at.rows; i += kHigh) {
                if (at.above && at.column + j + W - 1 <= at.row + i) break;
                A* to = tile + i * kLine + j;
                Sums<A> sums{};
                if (add || depth > 0) take(sums, to, kLine);
                for (int64_t k = depth; k < least(depth + kDepth, a.depth); k += W)
                    multiply(a.block(k / W, at.row + i), W, 1, b.column(at.column + j, k), W, W, sums);
                put(sums, to, kLine);
            }
}

// to[i] += tile[i, j] b_j: to (rows, features).
template <class A>
void spread(const A* tile, const Copy<A>& b, const Extent& at, A* to, int64_t features) {
    constexpr int W = kWide<A>;
    A edge[kHigh * W];
    for (int64_t first = 0; first < features; first += W)
        for (int64_t i = 0; i < at.rows; i += kHigh) {
            const int64_t some = least(W, features - first), high = least(kHigh, at.rows - i);
            A* const corner = to + i * features + first;
            const bool whole = some == W && high == kHigh;
            Sums<A> sums{};
            if (whole) take(sums, corner, features);
            multiply(tile + i * kLine, kLine, 1, b.block(first / W, at.column), W, at.count, sums);
            if (whole) {
                put(sums, corner, features);
                continue;
            }
            put(sums, edge, W);
            for (int64_t r = 0; r < high; ++r)
                for (int64_t e = 0; e < some; ++e) corner[r * features + e] += edge[r * W + e];
        }
}

}  // namespace
}  // namespace pydistill::cpu::PD_ISA
