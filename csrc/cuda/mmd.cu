// mmd on CUDA: a block for each tile of rows of either set, which meets all rows of both, tile by tile.
// Distances are sums of squared differences, so that nearly equal rows need no care; a row's gradient is
// added up by the same thread throughout, so that the order of its sum is fixed.
#include "../common/mmd_ops.h"
#include "reduce.h"

namespace pydistill::cuda {
namespace {

using mmd::Job;
using mmd::Part;

constexpr int kSide = 32, kDepth = 16, kThreads = 256;
constexpr int kPairs = kSide * kSide / kThreads, kSums = kSide * kDepth / kThreads;  // a thread's
constexpr int kLine = kDepth + 1, kTileLine = kSide + 1;  // no multiples of the number of banks

__device__ __forceinline__ float exponential(float x) { return expf(x); }
__device__ __forceinline__ double exponential(double x) { return exp(x); }

// Rows of a set of one batch entry and their directions; the latter null where they are 0.
template <class A>
struct Rows {
    const A *values, *turns;
    int64_t count;

    __device__ Rows(const Job& job, int64_t batch, int set)
        : values(static_cast<const A*>(job.sets[set]) + batch * job.counts[set] * job.features),
          turns(static_cast<const A*>(job.directions[set])),
          count(job.counts[set]) {
        if (turns) turns += batch * count * job.features;
    }
};

// kDepth features of kSide rows, zeros beyond the last of either. An infinity becomes not a number, so that
// all pairs of its row are: by its distance alone it would count as a row that is far away.
template <class A>
__device__ __forceinline__ void load_chunk(const A* from, int64_t row, int64_t rows, int64_t first,
                                           int64_t features, A* to) {
    for (int at = static_cast<int>(threadIdx.x); at < kSide * kDepth; at += kThreads) {
        const int r = at / kDepth, c = at % kDepth;
        const bool there = from && row + r < rows && first + c < features;
        const A value = there ? from[(row + r) * features + first + c] : A{};
        to[r * kLine + c] = value + (value - value);
    }
}

// Where a block stands: rows from `row` of set `set`.
struct Place {
    int64_t batch, row;
    int set;
};

template <class A, bool Second>
struct Block {
    const Job& job;
    Place at;
    A *a, *b, *u, *v, *apart, *turned;  // chunks of rows and directions, and tiles of weights, all shared

    // One chunk of both sides, for the whole block.
    __device__ void load(const Rows<A>& own, const Rows<A>& other, int64_t column, int64_t first) const {
        __syncthreads();  // the last chunk has been read
        load_chunk(own.values, at.row, own.count, first, job.features, a);
        load_chunk(other.values, column, other.count, first, job.features, b);
        if constexpr (Second) {
            load_chunk(own.turns, at.row, own.count, first, job.features, u);
            load_chunk(other.turns, column, other.count, first, job.features, v);
        }
        __syncthreads();
    }

    // How often a pair counts in the value.
    __device__ double times(bool same, bool above, int64_t row, int64_t column) const {
        if (!same) return 1;
        if (row == column) return job.unbiased ? 0 : 1;
        return above ? (column > row ? 2 : 0) : 1;
    }

    // The tile's pairs: returns this thread's part of the value; leaves weights in the shared tiles.
    __device__ double meet(const Rows<A>& own, const Rows<A>& other, int64_t column, bool same,
                           bool above) {
        const int j = static_cast<int>(threadIdx.x) % kSide, i = static_cast<int>(threadIdx.x) / kSide;
        constexpr int kStep = kThreads / kSide;
        A distance[kPairs]{}, turn[kPairs]{};
        for (int64_t first = 0; first < job.features; first += kDepth) {
            load(own, other, column, first);
            for (int c = 0; c < kDepth; ++c)
                for (int p = 0; p < kPairs; ++p) {
                    const int left = (i + p * kStep) * kLine + c, right = j * kLine + c;
                    const A difference = a[left] - b[right];
                    distance[p] += difference * difference;
                    if constexpr (Second) turn[p] += difference * (u[left] - v[right]);
                }
        }
        const A* weights = static_cast<const A*>(job.weights) + at.batch * job.bandwidths;
        const A factor = static_cast<A>(job.factor(same, at.set));
        double value = 0;
        for (int p = 0; p < kPairs; ++p) {
            const int r = i + p * kStep, place = r * kTileLine + j;
            mmd::Kernel<A> kernel;
            if (at.row + r < own.count && column + j < other.count) {
                for (int64_t s = 0; s < job.bandwidths; ++s)
                    kernel.add(exponential(-weights[s] * distance[p]), weights[s], Second);
                const A term = Second ? A{-2} * kernel.h * turn[p] : kernel.k;
                // A pair that does not count may be not a number: its row is so in other pairs.
                const double counted = times(same, above, at.row + r, column + j);
                if (counted > 0) value += counted * static_cast<double>(term);
            }
            const auto made = Second ? mmd::Weights<A>::second(kernel, turn[p], factor)
                                     : mmd::Weights<A>::first(kernel, factor);
            apart[place] = made.apart;
            if constexpr (Second) turned[place] = made.turned;
        }
        return value;
    }

    // Adds the tile's share to the rows' gradients. The first tile sets them, the last one scales them.
    __device__ void spread(const Rows<A>& own, const Rows<A>& other, int64_t column, bool begins,
                           bool ends) {
        A* to = static_cast<A*>(job.gradients[at.set]) + at.batch * own.count * job.features;
        const double upstream =
            Second ? static_cast<double>(static_cast<const A*>(job.upstream)[at.batch]) : 1;
        const A scale = static_cast<A>(upstream / job.pairs());
        const int c = static_cast<int>(threadIdx.x) % kDepth, i = static_cast<int>(threadIdx.x) / kDepth;
        for (int64_t first = 0; first < job.features; first += kDepth) {
            load(own, other, column, first);
            for (int p = 0; p < kSums; ++p) {
                const int r = i + p * (kThreads / kDepth);
                const A mine = a[r * kLine + c];
                A sum{};
                for (int j = 0; j < kSide; ++j) {
                    sum += apart[r * kTileLine + j] * (mine - b[j * kLine + c]);
                    if constexpr (Second)
                        sum += turned[r * kTileLine + j] * (u[r * kLine + c] - v[j * kLine + c]);
                }
                if (at.row + r >= own.count || first + c >= job.features) continue;
                A& place = to[(at.row + r) * job.features + first + c];
                const A collected = begins ? sum : place + sum;
                place = ends ? collected * scale : collected;
            }
        }
    }

    __device__ void run(Part* parts) {
        const Rows<A> own(job, at.batch, at.set);
        const bool want = job.gradients[at.set] != nullptr;
        double values[2]{};
        bool begins = true;
        for (int same = 1; same >= 0; --same) {
            if (!(same ? job.meets_own(at.set) : job.meets_other(at.set))) continue;
            const Rows<A> other(job, at.batch, same ? at.set : 1 - at.set);
            const bool above = same && !want;
            for (int64_t column = above ? at.row : 0; column < other.count; column += kSide) {
                values[!same] += meet(own, other, column, same, above);
                if (!want) continue;
                spread(own, other, column, begins, !same && column + kSide >= other.count);
                begins = false;
            }
        }
        BlockTeam<kThreads>::sum(values);
        if (threadIdx.x == 0) parts[blockIdx.x] = {values[0], job.owner() == at.set ? values[1] : 0};
    }
};

// Tiles of set 1 stand first in each batch entry, as value_of has them.
template <class A, bool Second>
__global__ void rows_kernel(Job job, int64_t tiles_x, int64_t tiles_y, Part* parts) {
    constexpr int kChunk = kSide * kLine, kTile = kSide * kTileLine;
    PD_SHARED(A, chunks, (Second ? 4 : 2) * kChunk);
    PD_SHARED(A, tiles, (Second ? 2 : 1) * kTile);
    const int64_t each = tiles_x + tiles_y, tile = static_cast<int64_t>(blockIdx.x) % each;
    const int set = tile < tiles_y;
    const Place at{static_cast<int64_t>(blockIdx.x) / each, (set ? tile : tile - tiles_y) * kSide, set};
    Block<A, Second> block{job,
                           at,
                           chunks,
                           chunks + kChunk,
                           chunks + (Second ? 2 : 0) * kChunk,
                           chunks + (Second ? 3 : 0) * kChunk,
                           tiles,
                           tiles + (Second ? kTile : 0)};
    block.run(parts);
}

template <class A>
__global__ void value_kernel(Job job, int64_t tiles_x, int64_t tiles_y, const Part* parts) {
    const int64_t batch = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (batch >= job.batch) return;
    const Part* own = parts + batch * (tiles_x + tiles_y);
    static_cast<A*>(job.value)[batch] = static_cast<A>(mmd::value_of(job, own, tiles_x, tiles_y));
}

template <class A>
__global__ void scale_kernel(const A* from, const A* factors, A* to, int64_t each, int64_t count) {
    const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (index < count) to[index] = from[index] * factors[index / each];
}

dim3 blocks_for(int64_t count) { return dim3(static_cast<unsigned>((count + kThreads - 1) / kThreads)); }

struct Backend {
    static Tensor output(std::initializer_list<int64_t> shape, const Tensor& like) {
        return torch::stable::empty({shape.begin(), shape.size()}, like.scalar_type(), std::nullopt,
                                    like.device());
    }

    static void run(const Job& job, const Tensor& like) {
        job.doubles ? run_typed<double>(job, like) : run_typed<float>(job, like);
    }

    template <class A>
    static void run_typed(const Job& job, const Tensor& like) {
        const Device device(like);
        const int64_t x = (job.counts[0] + kSide - 1) / kSide, y = (job.counts[1] + kSide - 1) / kSide;
        const int64_t blocks = job.batch * (x + y);
        STD_TORCH_CHECK(blocks < (int64_t{1} << 31), "mmd: too many sets and rows for one launch");
        const Tensor kept =
            torch::stable::empty({blocks, 2}, ScalarType::Double, std::nullopt, like.device());
        static_assert(sizeof(Part) == 2 * sizeof(double));
        Part* parts = static_cast<Part*>(kept.data_ptr());
        launch(job.second ? rows_kernel<A, true> : rows_kernel<A, false>,
               dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, device.stream(), job, x, y, parts);
        launch(value_kernel<A>, blocks_for(job.batch), dim3(kThreads), 0, device.stream(), job, x, y,
               static_cast<const Part*>(parts));
    }

    static void scale(const Tensor& values, const Tensor& by, Tensor& to) {
        values.scalar_type() == ScalarType::Double ? scale_typed<double>(values, by, to)
                                                   : scale_typed<float>(values, by, to);
    }

    template <class A>
    static void scale_typed(const Tensor& values, const Tensor& by, Tensor& to) {
        const Device device(values);
        const int64_t count = values.numel();
        launch(scale_kernel<A>, blocks_for(count), dim3(kThreads), 0, device.stream(),
               static_cast<const A*>(values.const_data_ptr()), static_cast<const A*>(by.const_data_ptr()),
               static_cast<A*>(to.mutable_data_ptr()), count / values.size(0), count);
    }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(pydistill, PD_DEVICE_KEY, m) { mmd::Operators<Backend>::implement(m); }

}  // namespace pydistill::cuda
