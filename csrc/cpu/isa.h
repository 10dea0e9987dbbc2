// One source, several instruction sets. Every csrc/cpu/*.cpp is compiled once as it is (the host part) and
// once for each level, with PD_ISA the level's name and PD_VECTOR_BYTES its register width (the kernel
// part, in a namespace of that name). The host part picks a level at run time.
//
// The kernel part includes nothing of the standard library that has inline functions: the linker would keep
// one copy for all levels, perhaps one that this machine cannot run.
#pragma once

namespace pydistill::cpu {

enum class Level { baseline, avx2, avx512 };

Level level();                 // in use: the best that this machine has, unless use_level said otherwise
bool supported(Level wanted);  // compiled, and this machine can run it
void use_level(Level wanted);  // for tests and benchmarks; the caller has asked supported()

}  // namespace pydistill::cpu

// PD_DECLARE_LEVELS(T, name) declares `extern const T name` in every level's namespace; PD_TABLE(name) is
// the one of the level in use.
#define PD_DECLARE_ONE(type, level, name) \
    namespace pydistill::cpu::level {     \
    extern const type name;               \
    }
#if defined(__x86_64__)
#define PD_DECLARE_LEVELS(type, name)    \
    PD_DECLARE_ONE(type, baseline, name) \
    PD_DECLARE_ONE(type, avx2, name)     \
    PD_DECLARE_ONE(type, avx512, name)
#define PD_TABLE(name)                                                           \
    (::pydistill::cpu::level() == ::pydistill::cpu::Level::avx512 ? avx512::name \
     : ::pydistill::cpu::level() == ::pydistill::cpu::Level::avx2 ? avx2::name   \
                                                                  : baseline::name)
#else
#define PD_DECLARE_LEVELS(type, name) PD_DECLARE_ONE(type, baseline, name)
#define PD_TABLE(name) (baseline::name)
#endif
