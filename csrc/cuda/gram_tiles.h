// gram on CUDA: a block computes a tile of the matrix, a warp 32 neighbours of one row at a time.
#pragma once

#include <cmath>

#include "../common/gram_entry.h"
#include "reduce.h"

namespace pydistill::cuda {
namespace {

using namespace pydistill::gram;

constexpr int kTile = 32, kTileWarps = 8;  // a tile is 32 x 32; each warp takes every eighth of its rows

struct ScalarMath {
    PD_FORMULA static float exp(float x) { return expf(x); }
    PD_FORMULA static double exp(double x) { return ::exp(x); }
    PD_FORMULA static float root(float x) { return sqrtf(x); }
    PD_FORMULA static double root(double x) { return ::sqrt(x); }
    PD_FORMULA static float angle_of_gap(float u) { return 2 * asinf(sqrtf(0.5f * u)); }
    PD_FORMULA static double angle_of_gap(double u) { return 2 * ::asin(::sqrt(0.5 * u)); }
};

// The base of the entry (x, y) from the rows themselves, by a whole warp; nothing cancels.
template <class A, Family F>
__device__ A exact_base(const A* x, const A* y, int64_t size, A x_inverse, A y_inverse, bool negative,
                        int lane) {
    A sum{};
    for (int64_t i = lane; i < size; i += kWarp) {
        const A d = difference_of<A, F>(x[i], y[i], x_inverse, y_inverse, negative);
        sum += d * d;
    }
    sum = warp_sum(sum);
    return F == Family::distance ? sum : signed_gap<A>(A{0.5} * sum, negative ? A{-1} : A{1});
}

// P is a profile; Order 0 gives the matrix, 1 its gradient, 2 the gradient's.
template <int Order, class A, template <class, class> class P>
__global__ void tile_kernel(Job job, Profile<A> profile, int64_t across, int64_t down) {
    using Shape = P<A, ScalarMath>;
    constexpr Family F = Shape::family;
    const int lane = static_cast<int>(threadIdx.x), warp = static_cast<int>(threadIdx.y);
    const int64_t tile = blockIdx.x, batch = tile / (across * down), in_batch = tile % (across * down);
    const int64_t tile_row = in_batch / across, tile_column = in_batch % across;
    const int64_t column = tile_column * kTile + lane, to_column = batch * job.columns + column;
    const bool inside = column < job.columns;
    const auto at = [](const void* p, int64_t offset) { return static_cast<const A*>(p)[offset]; };
    const Side<A> other = side_of<A, ScalarMath>(inside ? at(job.qy, to_column) : A{});
    A column_sum{};
    for (int r = warp; r < kTile; r += kTileWarps) {
        const int64_t in_rows = tile_row * kTile + r;
        if (in_rows >= job.rows) break;  // the same for the whole warp
        const int64_t row = batch * job.rows + in_rows, entry = row * job.columns + column;
        const Side<A> side = side_of<A, ScalarMath>(at(job.qx, row));
        const A s = inside ? at(job.s, entry) : A{};
        A base = base_of<A, F>(s, side, other);
        if constexpr (F != Family::dot) {
            const bool doubtful = inside && is_doubtful<A, F>(base, side, other);
            const unsigned found = __ballot_sync(kAllLanes, doubtful);
            for (int l = 0; l < kWarp; ++l) {
                if (!(found >> l & 1)) continue;
                const A inverse = __shfl_sync(kAllLanes, other.inverse, l);
                const bool negative = __shfl_sync(kAllLanes, base, l) < 0;
                const A* y = static_cast<const A*>(job.y) + (to_column - lane + l) * job.features;
                const A exact = exact_base<A, F>(static_cast<const A*>(job.x) + row * job.features, y,
                                                 job.features, side.inverse, inverse, negative, lane);
                base = l == lane ? exact : base;
            }
        }
        if constexpr (Order == 0) {
            const auto parts = entry_of<0, A, Shape>(profile, base, s, side, other, A{}, A{}, A{}, A{});
            if (inside) static_cast<A*>(job.out)[entry] = parts.out;
        } else {
            const A g = inside ? at(job.grad, batch * job.grad_batch + in_rows * job.grad_row +
                                                  column * job.grad_column)
                               : A{};
            A hs{}, hx{}, hy{};
            if (Order == 2 && inside)
                hs = at(job.hs, entry), hx = at(job.hx, row), hy = at(job.hy, to_column);
            const auto parts = entry_of<Order, A, Shape>(profile, base, s, side, other, g, hs, hx, hy);
            if (Order == 2 && inside) static_cast<A*>(job.out)[entry] = parts.out;
            if (inside) static_cast<A*>(job.grad_s)[entry] = parts.s;
            column_sum += parts.column;
            const A row_sum = warp_sum(inside ? parts.row : A{});
            if (lane == 0)
                static_cast<A*>(job.row_parts)[(batch * across + tile_column) * job.rows + in_rows] =
                    row_sum;
        }
    }
    if constexpr (Order > 0) {
        PD_SHARED(A, sums, kTileWarps * kTile);
        sums[warp * kTile + lane] = column_sum;
        __syncthreads();
        if (warp > 0 || !inside) return;
        for (int w = 1; w < kTileWarps; ++w) column_sum += sums[w * kTile + lane];
        static_cast<A*>(job.column_parts)[(batch * down + tile_row) * job.columns + column] = column_sum;
    }
}

// A warp a row, so that equal rows get equal results wherever they stand.
template <class A>
__global__ void squares_kernel(const A* x, A* result, int64_t rows, int64_t features) {
    const int lane = static_cast<int>(threadIdx.x);
    const int64_t row = static_cast<int64_t>(blockIdx.x) * kTileWarps + threadIdx.y;
    if (row >= rows) return;
    A sum{};
    for (int64_t i = lane; i < features; i += kWarp) sum += x[row * features + i] * x[row * features + i];
    sum = warp_sum(sum);
    if (lane == 0) result[row] = sum;
}

}  // namespace
}  // namespace pydistill::cuda
