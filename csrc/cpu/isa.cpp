#include "isa.h"

#ifndef PD_ISA

#include <atomic>

namespace pydistill::cpu {
namespace {

Level best() {
    if (supported(Level::avx512)) return Level::avx512;
    return supported(Level::avx2) ? Level::avx2 : Level::baseline;
}

std::atomic<Level>& current() {
    static std::atomic<Level> value{best()};
    return value;
}

}  // namespace

bool supported(Level wanted) {
#if defined(__x86_64__)
    if (wanted == Level::avx512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("fma");
    if (wanted == Level::avx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return wanted == Level::baseline;
}

Level level() { return current().load(std::memory_order_relaxed); }

void use_level(Level wanted) { current().store(wanted, std::memory_order_relaxed); }

}  // namespace pydistill::cpu

#endif
