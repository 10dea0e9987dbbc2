// Memory for large outputs, used again.
//
// The C library gives blocks of this size back to the system as soon as they are freed, and the system
// hands out empty pages one by one as they are first written: filling a fresh output takes several times as
// long as computing it. Freed outputs of the kernels are therefore kept, up to a limit, for later ones.
#pragma once

#include "../common/tensors.h"

namespace pydistill::cpu {

// An uninitialised tensor; from the pool where it is large.
Tensor output(std::initializer_list<int64_t> shape, const Tensor& like, Order order);

// The same of any shape, in the usual order.
Tensor output(std::initializer_list<int64_t> shape, const Tensor& like);

int64_t pool_held();                 // bytes kept now, not counting outputs in use
int64_t pool_limit();                // bytes kept at most
void set_pool_limit(int64_t bytes);  // gives back at once what is above the new limit

}  // namespace pydistill::cpu
