// mmd on the CPU: rows of both sets, a tile of them a task, against all rows; gradients in the same pass.
#include "../common/mmd.h"

#include <stdint.h>

#include "isa.h"

namespace pydistill::cpu::discrepancy {

struct Table {
    int64_t rows, span;                     // of a tile
    int64_t (*space)(const mmd::Job&);      // bytes that the copies of one batch entry take
    int64_t scratch_float, scratch_double;  // bytes that a thread works in
    void (*centre)(const mmd::Job&, const mmd::Workspace& space, int64_t batch, int64_t span);
    void (*prepare)(const mmd::Job&, const mmd::Workspace& space, int64_t batch, int set, int64_t row);
    mmd::Part (*run)(const mmd::Job&, const mmd::Workspace& space, int64_t batch, int set, int64_t row,
                     void* scratch);
};

}  // namespace pydistill::cpu::discrepancy

#ifdef PD_ISA
// ---- kernel part --------------------------------------------------------------------------------------
#include "mmd_rows.h"

namespace pydistill::cpu::PD_ISA {
namespace {

using mmd::Workspace;

int64_t space(const Job& job) {
    const int64_t size = job.doubles ? View<double>(job).size() : View<float>(job).size();
    return size * (job.doubles ? 8 : 4);
}

void centre(const Job& job, const Workspace& space, int64_t batch, int64_t span) {
    if (job.doubles)
        centre_span(View<double>(job, space), batch, span * kSpan);
    else
        centre_span(View<float>(job, space), batch, span * kSpan);
}

void prepare(const Job& job, const Workspace& space, int64_t batch, int set, int64_t row) {
    const int64_t end = least(row + kRows, job.counts[set]);
    if (job.doubles)
        prepare_rows(View<double>(job, space), batch, set, row, end);
    else
        prepare_rows(View<float>(job, space), batch, set, row, end);
}

template <class A>
Part run_typed(const Job& job, const Workspace& space, int64_t batch, int set, int64_t row, void* scratch) {
    const View<A> view(job, space);
    Scratch<A>& own = *static_cast<Scratch<A>*>(scratch);
    return job.second ? run_rows<A, true>(view, batch, set, row, own)
                      : run_rows<A, false>(view, batch, set, row, own);
}

Part run(const Job& job, const Workspace& space, int64_t batch, int set, int64_t row, void* scratch) {
    return (job.doubles ? run_typed<double> : run_typed<float>)(job, space, batch, set, row, scratch);
}

}  // namespace

extern const discrepancy::Table mmd_table;
const discrepancy::Table mmd_table{kRows,  kSpan,   space, sizeof(Scratch<float>), sizeof(Scratch<double>),
                                   centre, prepare, run};

}  // namespace pydistill::cpu::PD_ISA

#else
// ---- host part ----------------------------------------------------------------------------------------
#include <algorithm>
#include <atomic>
#include <vector>

#include "../common/mmd_ops.h"
#include "parallel.h"
#include "pool.h"

PD_DECLARE_LEVELS(pydistill::cpu::discrepancy::Table, mmd_table)

namespace pydistill::cpu {
namespace {

using mmd::Job;
using mmd::Workspace;

// f(item, scratch) over [0, count), the next item to whoever is free: tasks are of unequal length. Each
// thread has scratch of its own; what f writes must depend on the item alone. `work` is the arithmetic of
// all items; a thread is not woken for less than it costs.
template <class F>
void share(int64_t count, int64_t work, int64_t scratch_bytes, const F& f) {
    constexpr int64_t kWorth = 1 << 16, kLine = 64;
    std::atomic<int64_t> next{0};
    const int64_t threads = std::min<int64_t>({count, torch::stable::get_num_threads(), 1 + work / kWorth});
    torch::stable::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
        for (; begin < end; ++begin) {
            std::vector<unsigned char> scratch(scratch_bytes + kLine);
            const int64_t ahead = reinterpret_cast<uintptr_t>(scratch.data()) % kLine;
            for (int64_t item; (item = next.fetch_add(1, std::memory_order_relaxed)) < count;)
                f(item, scratch.data() + (kLine - ahead));
        }
    });
}

constexpr int64_t kTasks = 4, kWaveBytes = 8 << 20;  // of a wave: tasks a thread, and bytes of copies

struct Backend {
    static Tensor output(std::initializer_list<int64_t> shape, const Tensor& like) {
        int64_t sizes[4]{1, 1, 1, 1};
        std::copy(shape.begin(), shape.end(), sizes);
        return torch::stable::view(cpu::output({sizes[0], sizes[1], sizes[2], sizes[3]}, like, Order::nchw),
                                   {shape.begin(), shape.size()});
    }

    // Batch entries go in waves: enough of them for all threads, and else so few that their copies stay in
    // cache and take little memory.
    static void run(const Job& job, const Tensor& like) {
        const auto& table = PD_TABLE(mmd_table);
        int64_t tiles[2];
        for (int set = 0; set < 2; ++set) tiles[set] = (job.counts[set] + table.rows - 1) / table.rows;
        const int64_t each = tiles[0] + tiles[1], space = table.space(job);
        const int64_t threads = torch::stable::get_num_threads();
        const int64_t wave =
            std::min(job.batch, std::max((kTasks * threads + each - 1) / each, kWaveBytes / space));
        Tensor kept = output({wave * space / (job.doubles ? 8 : 4)}, like);
        std::vector<mmd::Part> parts(each * wave);
        for (int64_t first = 0; first < job.batch; first += wave) {
            const int64_t entries = std::min(wave, job.batch - first);
            run_wave(job, {kept.mutable_data_ptr(), first}, entries, tiles, parts.data());
            for (int64_t entry = 0; entry < entries; ++entry) {
                const double value = mmd::value_of(job, parts.data() + entry * each, tiles[0], tiles[1]);
                if (job.doubles)
                    static_cast<double*>(job.value)[first + entry] = value;
                else
                    static_cast<float*>(job.value)[first + entry] = static_cast<float>(value);
            }
        }
    }

    static void run_wave(const Job& job, const Workspace& space, int64_t entries, const int64_t (&tiles)[2],
                         mmd::Part* parts) {
        const auto& table = PD_TABLE(mmd_table);
        const int64_t spans = (job.features + table.span - 1) / table.span, each = tiles[0] + tiles[1];
        const int64_t values = entries * (job.counts[0] + job.counts[1]) * job.features;
        share(entries * spans, values, 0, [&](int64_t item, void*) {
            table.centre(job, space, space.first + item / spans, item % spans);
        });
        // Tiles of set 1 stand first in each batch entry, as value_of has them.
        const auto in_tile = [&](int64_t item, const auto& f) {
            const int64_t tile = item % each;
            const int set = tile < tiles[1];
            return f(space.first + item / each, set, (set ? tile : tile - tiles[1]) * table.rows);
        };
        share(entries * each, values, 0, [&](int64_t item, void*) {
            in_tile(item, [&](int64_t batch, int set, int64_t row) {
                table.prepare(job, space, batch, set, row);
            });
        });
        share(entries * each, values * (job.counts[0] + job.counts[1]),
              job.doubles ? table.scratch_double : table.scratch_float, [&](int64_t item, void* scratch) {
                  parts[item] = in_tile(item, [&](int64_t batch, int set, int64_t row) {
                      return table.run(job, space, batch, set, row, scratch);
                  });
              });
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
