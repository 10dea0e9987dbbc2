// bfloat16 as two bytes, converted by hand: the same code on host and device, with and without nvcc.
#pragma once

#include "formula.h"

namespace pydistill {

struct bf16 {
    uint16_t bits;
};

template <class S>
struct accumulate {
    using type = S;
};
template <>
struct accumulate<bf16> {
    using type = float;
};
// The type that sums over images of storage type S are kept in.
template <class S>
using acc_t = typename accumulate<S>::type;

PD_FORMULA float widen(bf16 value) {
    return __builtin_bit_cast(float, static_cast<uint32_t>(value.bits) << 16);
}
PD_FORMULA float widen(float value) { return value; }
PD_FORMULA double widen(double value) { return value; }

// Rounds to nearest, ties to even; keeps not-a-numbers.
PD_FORMULA void narrow(float value, bf16& to) {
    const uint32_t bits = __builtin_bit_cast(uint32_t, value);
    to.bits = static_cast<uint16_t>(value == value ? (bits + 0x7fff + ((bits >> 16) & 1)) >> 16
                                                   : (bits >> 16) | 0x40);
}
PD_FORMULA void narrow(float value, float& to) { to = value; }
PD_FORMULA void narrow(double value, double& to) { to = value; }

}  // namespace pydistill
