// PD_FORMULA marks what both backends share: inlined on the host, host and device code under nvcc.
#pragma once

#include <stdint.h>

#if defined(__CUDACC__)
#define PD_FORMULA __host__ __device__ __forceinline__
#else
#define PD_FORMULA inline __attribute__((always_inline))
#endif
