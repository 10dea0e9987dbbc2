// gram on the CPU: everything but the matrix products in one pass, for each derivative.
#include "../common/gram.h"

#include "isa.h"

namespace pydistill::cpu::gram_rows {

using gram::Job;
using gram::Kind;

constexpr int64_t kBlockRows = 32;  // rows that a thread takes at a time

struct Table {
    void (*run[3])(const Job&, int64_t begin, int64_t end);  // by order of the derivative
    void (*squares)(const void* x, void* result, bool wide, int64_t features, int64_t begin, int64_t end);
};

}  // namespace pydistill::cpu::gram_rows

#ifdef PD_ISA
// ---- kernel part --------------------------------------------------------------------------------------
namespace pydistill::cpu::PD_ISA {
using gram_rows::kBlockRows;
}
#include "gram_rows.h"

namespace pydistill::cpu::PD_ISA {
namespace {

template <int Order, class A>
void run_as(const Job& job, int64_t begin, int64_t end) {
    using Run = void (*)(const Job&, int64_t, int64_t);
    constexpr Run kRuns[kKinds] = {
        over_rows<Order, A, Polynomial>, over_rows<Order, A, Rbf>,
        over_rows<Order, A, Laplacian>,  over_rows<Order, A, InverseMultiquadric>,
        over_rows<Order, A, Nngp>,       over_rows<Order, A, Ntk>,
        over_rows<Order, A, BiasedNngp>, over_rows<Order, A, BiasedNtk>};
    kRuns[static_cast<int>(job.kind)](job, begin, end);
}

template <int Order>
void run(const Job& job, int64_t begin, int64_t end) {
    (job.wide ? run_as<Order, double> : run_as<Order, float>)(job, begin, end);
}

void squares(const void* x, void* result, bool wide, int64_t features, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
        if (wide)
            static_cast<double*>(result)[row] =
                sum_of_squares(static_cast<const double*>(x) + row * features, features);
        else
            static_cast<float*>(result)[row] =
                sum_of_squares(static_cast<const float*>(x) + row * features, features);
}

}  // namespace

extern const gram_rows::Table gram_table;
const gram_rows::Table gram_table{{run<0>, run<1>, run<2>}, squares};

}  // namespace pydistill::cpu::PD_ISA

#else
// ---- host part ----------------------------------------------------------------------------------------
#include "../common/gram_ops.h"
#include "parallel.h"
#include "pool.h"

PD_DECLARE_LEVELS(pydistill::cpu::gram_rows::Table, gram_table)

namespace pydistill::cpu {
namespace {

using gram::Job;
using gram_rows::kBlockRows;

struct Backend {
    static Tensor output(std::initializer_list<int64_t> shape, const Tensor& like) {
        return cpu::output(shape, like);
    }
    static Tensor sum_images(const Tensor& parts, int64_t groups) { return cpu::sum_images(parts, groups); }

    static int64_t blocks(const Job& job) { return (job.rows + kBlockRows - 1) / kBlockRows; }
    static std::pair<int64_t, int64_t> parts(const Job& job) { return {1, blocks(job)}; }

    template <int Order>
    static void run(const Job& job, const Tensor&) {
        const auto kernel = PD_TABLE(gram_table).run[Order];
        parallel(job.batch * blocks(job), kBlockRows * job.columns,
                 [&](int64_t begin, int64_t end) { kernel(job, begin, end); });
    }

    static void squares(const Tensor& x, Tensor& result) {
        const auto kernel = PD_TABLE(gram_table).squares;
        const bool wide = x.scalar_type() == ScalarType::Double;
        const int64_t features = x.size(2);
        const void* from = x.const_data_ptr();
        void* to = result.mutable_data_ptr();
        parallel(result.numel(), features,
                 [&](int64_t begin, int64_t end) { kernel(from, to, wide, features, begin, end); });
    }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(pydistill, CPU, m) { gram::Operators<Backend>::implement(m); }

}  // namespace pydistill::cpu

#endif
