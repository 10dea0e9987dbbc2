// mmd on the CPU: rows of both sets, a tile of them a task, against all rows; gradients in the same pass.
#include "../common/mmd.h"

#include <stdint.h>

#include "isa.h"

namespace pydistill::cpu::maximum_mean_discrepancy {

struct Table {
    int64_t rows;                           // of a tile
    int64_t (*space)(const mmd::Job&);      // bytes that the sets' copies take
    int64_t scratch_float, scratch_double;  // bytes that a thread works in
    int64_t (*blocks)(const mmd::Job&);     // of features that centre() is called for, in each batch entry
    void (*centre)(const mmd::Job&, void* space, int64_t batch, int64_t block);
    void (*prepare)(const mmd::Job&, void* space, int64_t batch, int set, int64_t row);
    mmd::Part (*run)(const mmd::Job&, void* space, int64_t batch, int set, int64_t row, void* scratch);
};

}  // namespace pydistill::cpu::maximum_mean_discrepancy

#ifdef PD_ISA
// ---- kernel part --------------------------------------------------------------------------------------
#include "mmd_rows.h"

namespace pydistill::cpu::PD_ISA {
namespace {

int64_t space(const Job& job) {
    const int64_t size = job.doubles ? View<double>(job, nullptr).size() : View<float>(job, nullptr).size();
    return job.batch * size * (job.doubles ? 8 : 4);
}

int64_t blocks(const Job& job) {
    return job.doubles ? View<double>(job, nullptr).depth() / kWide<double>
                       : View<float>(job, nullptr).depth() / kWide<float>;
}

void centre(const Job& job, void* space, int64_t batch, int64_t block) {
    if (job.doubles)
        centre_block(View<double>(job, space), batch, block);
    else
        centre_block(View<float>(job, space), batch, block);
}

void prepare(const Job& job, void* space, int64_t batch, int set, int64_t row) {
    const int64_t end = least(row + kRows, job.counts[set]);
    if (job.doubles)
        prepare_rows(View<double>(job, space), batch, set, row, end);
    else
        prepare_rows(View<float>(job, space), batch, set, row, end);
}

template <class A>
Part run_typed(const Job& job, void* space, int64_t batch, int set, int64_t row, void* scratch) {
    const View<A> view(job, space);
    Scratch<A>& own = *static_cast<Scratch<A>*>(scratch);
    return job.second ? run_rows<A, true>(view, batch, set, row, own)
                      : run_rows<A, false>(view, batch, set, row, own);
}

Part run(const Job& job, void* space, int64_t batch, int set, int64_t row, void* scratch) {
    return (job.doubles ? run_typed<double> : run_typed<float>)(job, space, batch, set, row, scratch);
}

}  // namespace

extern const maximum_mean_discrepancy::Table mmd_table;
const maximum_mean_discrepancy::Table mmd_table{
    kRows, space, sizeof(Scratch<float>), sizeof(Scratch<double>), blocks, centre, prepare, run};

}  // namespace pydistill::cpu::PD_ISA

#else
// ---- host part ----------------------------------------------------------------------------------------
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <vector>

#include "../common/mmd_ops.h"
#include "parallel.h"
#include "pool.h"

PD_DECLARE_LEVELS(pydistill::cpu::maximum_mean_discrepancy::Table, mmd_table)

namespace pydistill::cpu {
namespace {

using mmd::Job;

// f(item, scratch) over [0, count), the next item to whoever is free: tasks are of unequal length. Each
// thread has scratch of its own; what f writes must depend on the item alone.
template <class F>
void share(int64_t count, int64_t scratch_bytes, const F& f) {
    std::atomic<int64_t> next{0};
    const int64_t threads = std::min<int64_t>(count, torch::stable::get_num_threads());
    torch::stable::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
        for (; begin < end; ++begin) {
            const std::unique_ptr<void, void (*)(void*)> scratch(
                std::aligned_alloc(64, (scratch_bytes + 63) / 64 * 64), std::free);
            for (int64_t item; (item = next.fetch_add(1, std::memory_order_relaxed)) < count;)
                f(item, scratch.get());
        }
    });
}

struct Backend {
    static Tensor output(std::initializer_list<int64_t> shape, const Tensor& like) {
        int64_t sizes[4]{1, 1, 1, 1};
        std::copy(shape.begin(), shape.end(), sizes);
        return torch::stable::view(cpu::output({sizes[0], sizes[1], sizes[2], sizes[3]}, like, Order::nchw),
                                   {shape.begin(), shape.size()});
    }

    static void run(const Job& job, const Tensor& like) {
        const auto& table = PD_TABLE(mmd_table);
        const int64_t element = job.doubles ? 8 : 4, blocks = table.blocks(job);
        Tensor kept = output({table.space(job) / element}, like);
        void* const space = kept.mutable_data_ptr();
        share(job.batch * blocks, 64,
              [&](int64_t item, void*) { table.centre(job, space, item / blocks, item % blocks); });
        // Tiles of set 1 stand first in each batch entry, as in value_of; the longer tasks of either set
        // too.
        int64_t tiles[2];
        for (int set = 0; set < 2; ++set) tiles[set] = (job.counts[set] + table.rows - 1) / table.rows;
        const int64_t each = tiles[0] + tiles[1];
        const auto in_tile = [&](int64_t item, const auto& f) {
            const int64_t batch = item / each, tile = item % each;
            const int set = tile < tiles[1];
            return f(batch, set, (set ? tile : tile - tiles[1]) * table.rows);
        };
        share(job.batch * each, 64, [&](int64_t item, void*) {
            in_tile(item, [&](int64_t batch, int set, int64_t row) {
                table.prepare(job, space, batch, set, row);
            });
        });
        std::vector<mmd::Part> parts(job.batch * each);
        share(job.batch * each, job.doubles ? table.scratch_double : table.scratch_float,
              [&](int64_t item, void* scratch) {
                  parts[item] = in_tile(item, [&](int64_t batch, int set, int64_t row) {
                      return table.run(job, space, batch, set, row, scratch);
                  });
              });
        for (int64_t batch = 0; batch < job.batch; ++batch) {
            const double value = mmd::value_of(job, parts.data() + batch * each, tiles[0], tiles[1]);
            if (job.doubles)
                static_cast<double*>(job.value)[batch] = value;
            else
                static_cast<float*>(job.value)[batch] = static_cast<float>(value);
        }
    }

    template <class A>
    static void scale_typed(const Tensor& values, const Tensor& by, Tensor& to) {
        const A *from = static_cast<const A*>(values.const_data_ptr()),
                *factors = static_cast<const A*>(by.const_data_ptr());
        A* out = static_cast<A*>(to.mutable_data_ptr());
        const int64_t row = values.size(2), rows = values.size(1);
        parallel(values.size(0) * rows, row, [&](int64_t begin, int64_t end) {
            for (int64_t r = begin; r < end; ++r) {
                const A factor = factors[r / rows];
                for (int64_t i = r * row; i < (r + 1) * row; ++i) out[i] = from[i] * factor;
            }
        });
    }
    static void scale(const Tensor& values, const Tensor& by, Tensor& to) {
        (values.scalar_type() == ScalarType::Double ? scale_typed<double> : scale_typed<float>)(values, by,
                                                                                                to);
    }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(pydistill, CPU, m) { mmd::Operators<Backend>::implement(m); }

}  // namespace pydistill::cpu

#endif
