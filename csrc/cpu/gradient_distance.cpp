// gradient_distance on the CPU: a segment a task, read once for its sums and once more for its gradients.
#include "../common/gradient_distance.h"

#include <stdint.h>

#include "isa.h"

namespace pydistill::cpu::distance {

// Segments of all comparisons from `begin` to `end`.
using Kernel = void (*)(const gradient_distance::Job&, int64_t begin, int64_t end);

struct Table {
    Kernel first, second;
};

}  // namespace pydistill::cpu::distance

#ifdef PD_ISA
// ---- kernel part --------------------------------------------------------------------------------------
#include "vec.h"

namespace pydistill::cpu::PD_ISA {
namespace {

using gradient_distance::Cosine;
using gradient_distance::Difference;
using gradient_distance::Factors;
using gradient_distance::Job;
using gradient_distance::Kind;
using gradient_distance::Segment;
using gradient_distance::Sums;

// Calls f.operator()<L>(place) over [0, size): whole registers, then one by one.
template <class A, class F>
PD_INLINE void over(int64_t size, const F& f) {
    constexpr int L = lanes<A>;
    int64_t i = 0;
    for (; i + L <= size; i += L) f.template operator()<L>(i);
    for (; i < size; ++i) f.template operator()<1>(i);
}

// A sum of products over a segment: a register of partial sums, and what is left over.
template <class A>
struct Product {
    vec<A, lanes<A>> wide{};
    vec<A, 1> rest{};

    template <int L>
    PD_INLINE void add(vec<A, L> a, vec<A, L> b) {
        if constexpr (L == 1)
            rest += a * b;
        else
            wide += a * b;
    }
    PD_INLINE A sum() const { return total<A, lanes<A>>(wide) + rest[0]; }
};

template <class A, bool Second>
void cosine(const Job& job, int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
        const Segment<A> at(job, item);
        Product<A> xy, xx, yy, uy, ux, vx, vy;
        over<A>(at.size, [&]<int L>(int64_t i) __attribute__((always_inline)) {
            const auto x = load<A, L>(at.x + i), y = load<A, L>(at.y + i);
            xy.template add<L>(x, y), xx.template add<L>(x, x), yy.template add<L>(y, y);
            if constexpr (Second) {
                if (at.u) {
                    const auto u = load<A, L>(at.u + i);
                    uy.template add<L>(u, y), ux.template add<L>(u, x);
                }
                if (at.v) {
                    const auto v = load<A, L>(at.v + i);
                    vx.template add<L>(v, x), vy.template add<L>(v, y);
                }
            }
        });
        const Sums<A> sums{xy.sum(), xx.sum(), yy.sum(), uy.sum() + vx.sum(), ux.sum(), vy.sum()};
        const Cosine found(sums, job.eps);
        const Factors f = Second ? found.second(at.g) : found.first(at.g);
        if (job.value) static_cast<A*>(job.value)[item] = static_cast<A>(f.value);
        const auto make = [&](A* to, double of_x, double of_y, double of_u, double of_v)
                              __attribute__((always_inline)) {
                                  if (!to) return;
                                  const A a = static_cast<A>(of_x), b = static_cast<A>(of_y);
                                  const A c = static_cast<A>(of_u), d = static_cast<A>(of_v);
                                  over<A>(at.size, [&]<int L>(int64_t i) __attribute__((always_inline)) {
                                      auto sum = load<A, L>(at.x + i) * a + load<A, L>(at.y + i) * b;
                                      if constexpr (Second) {
                                          if (at.u) sum += load<A, L>(at.u + i) * c;
                                          if (at.v) sum += load<A, L>(at.v + i) * d;
                                      }
                                      store<A, L>(to + i, sum);
                                  });
                              };
        make(at.to_x, f.xx, f.xy, f.xu, f.xv);
        make(at.to_y, f.yx, f.yy, f.yu, f.yv);
    }
}

template <class A, Kind kind, bool Second>
void difference(const Job& job, int64_t begin, int64_t end) {
    using D = Difference<kind>;
    for (int64_t item = begin; item < end; ++item) {
        const Segment<A> at(job, item);
        const A g = static_cast<A>(at.g);
        Product<A> value;
        over<A>(at.size, [&]<int L>(int64_t i) __attribute__((always_inline)) {
            using V = vec<A, L>;
            const V one = V{} + A{1}, d = load<A, L>(at.x + i) - load<A, L>(at.y + i);
            V turn{}, to_x{};
            if constexpr (Second) {
                if (at.u) turn += load<A, L>(at.u + i);
                if (at.v) turn -= load<A, L>(at.v + i);
                value.template add<L>(D::slope(d, one), turn);
                if constexpr (kind == Kind::l2) to_x = turn * (A{2} * g);
            } else {
                value.template add<L>(D::value(d), one);
                to_x = D::slope(d, one) * g;
            }
            if (at.to_x) store<A, L>(at.to_x + i, to_x);
            if (at.to_y) store<A, L>(at.to_y + i, -to_x);
        });
        if (job.value) static_cast<A*>(job.value)[item] = value.sum();
    }
}

template <class A, bool Second>
void run_typed(const Job& job, int64_t begin, int64_t end) {
    if (job.kind == Kind::cosine)
        cosine<A, Second>(job, begin, end);
    else if (job.kind == Kind::l2)
        difference<A, Kind::l2, Second>(job, begin, end);
    else
        difference<A, Kind::l1, Second>(job, begin, end);
}

template <bool Second>
void run(const Job& job, int64_t begin, int64_t end) {
    (job.doubles ? run_typed<double, Second> : run_typed<float, Second>)(job, begin, end);
}

}  // namespace

extern const distance::Table gradient_distance_table;
const distance::Table gradient_distance_table{run<false>, run<true>};

}  // namespace pydistill::cpu::PD_ISA

#else
// ---- host part ----------------------------------------------------------------------------------------
#include "../common/gradient_distance_ops.h"
#include "parallel.h"

PD_DECLARE_LEVELS(pydistill::cpu::distance::Table, gradient_distance_table)

namespace pydistill::cpu {
namespace {

using gradient_distance::Job;

struct Backend {
    static Tensor output(std::initializer_list<int64_t> shape, const Tensor& like) {
        return empty(shape, like);
    }
    static void check(const char* op, const Job& job) {
        bool rising = job.offsets[0] == 0 && job.offsets[job.segments] == job.length;
        for (int64_t s = 0; s < job.segments; ++s) rising = rising && job.offsets[s] < job.offsets[s + 1];
        STD_TORCH_CHECK(rising, op, ": offsets must rise from 0 to ", job.length);
    }
    static void first(const Job& job, const Tensor&) { run(job, PD_TABLE(gradient_distance_table).first); }
    static void second(const Job& job, const Tensor&) {
        run(job, PD_TABLE(gradient_distance_table).second);
    }

    static void run(const Job& job, distance::Kernel kernel) {
        parallel(job.batch * job.segments, job.length / job.segments,
                 [&](int64_t begin, int64_t end) { kernel(job, begin, end); });
    }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(pydistill, CPU, m) { gradient_distance::Operators<Backend>::implement(m); }

}  // namespace pydistill::cpu

#endif
