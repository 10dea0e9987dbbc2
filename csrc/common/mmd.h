// The formulas of mmd, written once for both backends. V is a scalar or a vector of them.
//
// With d = |a - b|^2 and w = 1 / (2 sigma^2), over the bandwidths of a batch entry:
//   k(d) = sum of exp(-w d),  h = -k' = sum of w exp(-w d),  q = k'' = sum of w^2 exp(-w d).
// MMD^2 = s_x sum k(x_i, x_j) + s_y sum k(y_i, y_j) - 2 / (N M) sum k(x_i, y_j), where s = 1 / n^2 over all
// pairs (biased), or 1 / (n (n - 1)) over pairs of different rows (unbiased).
// A row a of one set meets every row b of both. With f the factor of the pair (twice s, or -2 / (N M)) and,
// for second derivatives, u and v the directions of a and b and t = (a - b)(u - v):
//   gradient of a:             sum over b of f (-2 h) (a - b)
//   its derivative along u, v: sum over b of f (4 q t (a - b) - 2 h (u - v))
//   MMD^2's derivative there:  k replaced by -2 h t.
// Factors are kept times N M, and the results divided by it: small weights would leave the normal range.
#pragma once

#include "formula.h"

namespace pydistill::mmd {

// What a kernel works on. Sets 0 and 1 are x (B, N, D) and y (B, M, D); all of dtype A, float or double.
struct Job {
    bool doubles, second, unbiased;
    int64_t batch, counts[2], features, bandwidths;
    const void* sets[2];
    const void* directions[2];  // as the sets; null where a direction is 0
    const void* weights;        // (B, S): w of each bandwidth
    const void* upstream;       // (B,), second derivatives are multiplied by it
    void* gradients[2];         // as the sets: first or second derivatives; null where not wanted
    void* value;                // (B,): MMD^2, or its derivative along the directions

    PD_FORMULA double pairs() const {
        return static_cast<double>(counts[0]) * static_cast<double>(counts[1]);
    }
    // s of a set, and the factors f times N M.
    PD_FORMULA double scale(int set) const {
        const double n = static_cast<double>(counts[set]);
        return 1 / (n * (unbiased ? n - 1 : n));
    }
    PD_FORMULA double factor(bool same, int set) const { return same ? 2 * scale(set) * pairs() : -2; }

    // Whose rows the pairs of one of each set are summed over, for the value.
    PD_FORMULA int owner() const { return gradients[1] || !gradients[0] ? 1 : 0; }
    // Whether the rows of `set` must meet their own set, and the other one.
    PD_FORMULA bool meets_own(int set) const { return !second || directions[set] || gradients[set]; }
    PD_FORMULA bool meets_other(int set) const { return gradients[set] || owner() == set; }
};

// The CPU kernels' copies of some batch entries, from `first` on.
struct Workspace {
    void* data;
    int64_t first;
};

// What a tile of rows adds to the value: sums over its pairs in its own set and in the other one.
struct Part {
    double own, other;
};

// Value of batch entry from the parts of its tiles, in their order; the tiles of set 1 stand first.
PD_FORMULA double value_of(const Job& job, const Part* parts, int64_t tiles_x, int64_t tiles_y) {
    double own[2]{}, other = 0;
    for (int64_t tile = 0; tile < tiles_x + tiles_y; ++tile) {
        own[tile < tiles_y] += parts[tile].own;
        other += parts[tile].other;
    }
    return own[0] * job.scale(0) + own[1] * job.scale(1) - 2 / job.pairs() * other;
}

// k, h, q at a squared distance.
template <class V>
struct Kernel {
    V k{}, h{}, q{};

    template <class A>
    PD_FORMULA void add(V exponential, A w, bool second) {
        k += exponential;
        h += exponential * w;
        if (second) q += exponential * (w * w);
    }
};

// Weights of a - b and of u - v in a row's sum.
template <class V>
struct Weights {
    V apart, turned;

    template <class A>
    static PD_FORMULA Weights first(const Kernel<V>& at, A f) {
        return {at.h * (-2 * f), V{}};
    }
    template <class A>
    static PD_FORMULA Weights second(const Kernel<V>& at, V t, A f) {
        return {at.q * t * (4 * f), at.h * (-2 * f)};
    }
};

}  // namespace pydistill::mmd
