// pydistill._C: importing it registers the operators; build_info() tells what was built.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <torch/headeronly/version.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/isa.h"
#include "cpu/pool.h"

namespace py = pybind11;
using pydistill::cpu::Level;

namespace {

const std::vector<std::pair<std::string, Level>> kLevels{
    {"baseline", Level::baseline}, {"avx2", Level::avx2}, {"avx512", Level::avx512}};

std::vector<std::string> cpu_levels() {
    std::vector<std::string> names;
    for (const auto& [name, level] : kLevels)
        if (pydistill::cpu::supported(level)) names.push_back(name);
    return names;
}

std::string cpu_level() {
    for (const auto& [name, level] : kLevels)
        if (level == pydistill::cpu::level()) return name;
    throw std::logic_error("unnamed instruction set level");
}

void use_cpu_level(const std::string& wanted) {
    for (const auto& [name, level] : kLevels)
        if (name == wanted && pydistill::cpu::supported(level)) return pydistill::cpu::use_level(level);
    throw py::value_error("'" + wanted +
                          "' is no instruction set level of this build and machine; see cpu_levels()");
}

void set_pool_limit(int64_t bytes) {
    if (bytes < 0)
        throw py::value_error("the limit must be 0 or more bytes, found " + std::to_string(bytes));
    pydistill::cpu::set_pool_limit(bytes);
}

py::dict build_info() {
    py::dict info;
    std::vector<std::string> backends{"cpu"};
#ifdef PD_CUDA_ARCHS
    backends.push_back("cuda");
    info["cuda_archs"] = PD_CUDA_ARCHS;
    info["cuda"] = PD_CUDA_VERSION;
#endif
    info["backends"] = backends;
    info["torch"] = TORCH_VERSION;
#if defined(__clang__)
    info["compiler"] = std::string("clang ") + __clang_version__;
#else
    info["compiler"] = std::string("gcc ") + __VERSION__;
#endif
    info["cpu_levels"] = cpu_levels();
    info["cpu_level"] = cpu_level();
    return info;
}

}  // namespace

PYBIND11_MODULE(_C, m) {
    m.doc() = "The compiled operators of pydistill.";
    m.def("build_info", &build_info, "What was built, with which compiler, against which torch.");
    m.def("cpu_levels", &cpu_levels,
          "Instruction set levels that were compiled and that this machine can run.");
    m.def("use_cpu_level", &use_cpu_level, py::arg("name"),
          "Run the CPU kernels of one level from now on.");
    m.def("pool_held", &pydistill::cpu::pool_held, "Bytes kept for later outputs, beside outputs in use.");
    m.def("pool_limit", &pydistill::cpu::pool_limit, "Bytes kept for later outputs at most.");
    m.def("set_pool_limit", &set_pool_limit, py::arg("bytes"), "Keep no more than this; 0 keeps nothing.");
}
