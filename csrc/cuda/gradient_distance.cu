// gradient_distance on CUDA: a block a segment of a comparison, all layers of all comparisons in one
// launch.
#include "../common/gradient_distance_ops.h"
#include "reduce.h"

namespace pydistill::cuda {
namespace {

using gradient_distance::Cosine;
using gradient_distance::Difference;
using gradient_distance::Factors;
using gradient_distance::Job;
using gradient_distance::Kind;
using gradient_distance::Segment;
using gradient_distance::Sums;

constexpr int kThreads = 128;
using Team = BlockTeam<kThreads>;

template <class A, bool Second>
__global__ void cosine(Job job) {
    const int64_t item = blockIdx.x;
    const Segment<A> at(job, item);
    A sums[6]{};
    for (int64_t i = Team::rank(); i < at.size; i += kThreads) {
        const A x = at.x[i], y = at.y[i];
        sums[0] += x * y, sums[1] += x * x, sums[2] += y * y;
        if (Second) {
            const A u = at.u ? at.u[i] : A{}, v = at.v ? at.v[i] : A{};
            sums[3] += u * y + v * x, sums[4] += u * x, sums[5] += v * y;
        }
    }
    Team::sum(sums);
    const Cosine found(Sums<A>{sums[0], sums[1], sums[2], sums[3], sums[4], sums[5]}, job.eps);
    const Factors f = Second ? found.second(at.g) : found.first(at.g);
    if (job.value && Team::rank() == 0) static_cast<A*>(job.value)[item] = static_cast<A>(f.value);
    const A xx = static_cast<A>(f.xx), xy = static_cast<A>(f.xy), xu = static_cast<A>(f.xu);
    const A xv = static_cast<A>(f.xv), yx = static_cast<A>(f.yx), yy = static_cast<A>(f.yy);
    const A yu = static_cast<A>(f.yu), yv = static_cast<A>(f.yv);
    for (int64_t i = Team::rank(); i < at.size; i += kThreads) {
        const A x = at.x[i], y = at.y[i];
        const A u = Second && at.u ? at.u[i] : A{}, v = Second && at.v ? at.v[i] : A{};
        if (at.to_x) at.to_x[i] = x * xx + y * xy + u * xu + v * xv;
        if (at.to_y) at.to_y[i] = x * yx + y * yy + u * yu + v * yv;
    }
}

template <class A, Kind kind, bool Second>
__global__ void difference(Job job) {
    using D = Difference<kind>;
    const int64_t item = blockIdx.x;
    const Segment<A> at(job, item);
    const A g = static_cast<A>(at.g);
    A value[1]{};
    for (int64_t i = Team::rank(); i < at.size; i += kThreads) {
        const A d = at.x[i] - at.y[i];
        A to_x{};
        if (Second) {
            const A turn = (at.u ? at.u[i] : A{}) - (at.v ? at.v[i] : A{});
            value[0] += D::slope(d, A{1}) * turn;
            if (kind == Kind::l2) to_x = 2 * g * turn;
        } else {
            value[0] += D::value(d);
            to_x = g * D::slope(d, A{1});
        }
        if (at.to_x) at.to_x[i] = to_x;
        if (at.to_y) at.to_y[i] = -to_x;
    }
    Team::sum(value);
    if (job.value && Team::rank() == 0) static_cast<A*>(job.value)[item] = value[0];
}

template <class A, bool Second>
void start(const Job& job, const Tensor& x) {
    const Device device(x);
    const int64_t blocks = job.batch * job.segments;
    STD_TORCH_CHECK(blocks < (int64_t{1} << 31), "gradient_distance: ", blocks,
                    " segments are more than one launch has blocks");
    const auto kernel = job.kind == Kind::cosine ? cosine<A, Second>
                        : job.kind == Kind::l2   ? difference<A, Kind::l2, Second>
                                                 : difference<A, Kind::l1, Second>;
    launch(kernel, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, device.stream(), job);
}

struct Backend {
    static Tensor output(std::initializer_list<int64_t> shape, const Tensor& like) {
        return empty(shape, like);
    }
    static void check(const char*, const Job&) {}  // offsets lie on the device: see Segment
    static void first(const Job& job, const Tensor& x) {
        (job.doubles ? start<double, false> : start<float, false>)(job, x);
    }
    static void second(const Job& job, const Tensor& x) {
        (job.doubles ? start<double, true> : start<float, true>)(job, x);
    }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(pydistill, PD_DEVICE_KEY, m) {
    gradient_distance::Operators<Backend>::implement(m);
}

}  // namespace pydistill::cuda
