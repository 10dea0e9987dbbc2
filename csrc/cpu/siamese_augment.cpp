// siamese_augment on the CPU: an image is read once and written once; what lies between stays in cache.
#include "../common/siamese_augment.h"

#include <stddef.h>
#include <stdint.h>

#include "isa.h"

namespace pydistill::cpu::siamese {

using siamese_augment::Job;
using siamese_augment::Storage;

// Images from `begin` to `end`; `scratch` holds what scratch_bytes says, and is aligned to 64 bytes.
using Kernel = void (*)(const Job&, int64_t begin, int64_t end, void* scratch);

struct Table {
    Kernel forward, backward;
    int64_t (*scratch_bytes)(const Job&);
};

}  // namespace pydistill::cpu::siamese

#ifdef PD_ISA
// ---- kernel part --------------------------------------------------------------------------------------
#include "siamese_augment_images.h"

namespace pydistill::cpu::PD_ISA {
namespace {

template <template <class> class Direction>
void run(const Job& job, int64_t begin, int64_t end, void* scratch) {
    if (job.storage == Storage::f32)
        over_images<Direction<float>>(job, begin, end, scratch);
    else if (job.storage == Storage::f64)
        over_images<Direction<double>>(job, begin, end, scratch);
    else
        over_images<Direction<bf16>>(job, begin, end, scratch);
}

int64_t scratch_bytes(const Job& job) {
    return job.storage == Storage::f64 ? Workspace<double>::bytes(job) : Workspace<float>::bytes(job);
}

}  // namespace

extern const siamese::Table siamese_augment_table;
const siamese::Table siamese_augment_table{run<Forward>, run<Backward>, scratch_bytes};

}  // namespace pydistill::cpu::PD_ISA

#else
// ---- host part ----------------------------------------------------------------------------------------
#include <memory>
#include <new>

#include "../common/siamese_augment_ops.h"
#include "parallel.h"
#include "pool.h"

PD_DECLARE_LEVELS(pydistill::cpu::siamese::Table, siamese_augment_table)

namespace pydistill::cpu {
namespace {

using siamese::Job;

struct Backend {
    static Tensor output(std::initializer_list<int64_t> shape, const Tensor& like, Order order) {
        return cpu::output(shape, like, order);
    }
    static void check(const char* op, const Job& job) {
        for (int64_t n = 0; n < job.count; ++n)
            STD_TORCH_CHECK(job.rows[n] >= 0 && job.rows[n] < job.groups, op, ": rows must be 0 to ",
                            job.groups - 1, ", found ", job.rows[n]);
    }
    static void forward(const Job& job, const Tensor&) {
        run(job, PD_TABLE(siamese_augment_table).forward);
    }
    static void backward(const Job& job, const Tensor&) {
        run(job, PD_TABLE(siamese_augment_table).backward);
    }

    static void run(const Job& job, siamese::Kernel kernel) {
        const int64_t bytes = PD_TABLE(siamese_augment_table).scratch_bytes(job);
        constexpr std::align_val_t alignment{64};
        // A value costs half of what it does in operators that reduce: a thread is woken for twice as many.
        parallel(job.count, job.channels * job.height * job.width / 2, [&](int64_t begin, int64_t end) {
            const auto release = [](void* p) { operator delete(p, alignment); };
            const std::unique_ptr<void, decltype(release)> scratch(operator new(static_cast<size_t>(bytes),
                                                                                alignment),
                                                                   release);
            kernel(job, begin, end, scratch.get());
        });
    }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(pydistill, CPU, m) { siamese_augment::Operators<Backend>::implement(m); }

}  // namespace pydistill::cpu

#endif
