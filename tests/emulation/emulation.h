// CUDA on the host, for tests: the .cu files compile as C++ against this header, and a launch runs each
// block with a fiber for every thread. It proves arithmetic, indexing and synchronisation, not speed.
//
// - Barriers and warp collectives are switches between fibers. A barrier or collective that not all threads
//   concerned reach ends the launch with an error, as does a collective whose threads name different masks.
// - Shared memory is fresh in each block and filled with not-a-numbers. Every shared array lies between
//   guards that are checked when the block ends; under AddressSanitizer it is an allocation of its own.
// - Blocks run one after the other. Between barriers a fiber runs until it waits, in an order that is
//   reversed in every other block: what relies on an order differs between blocks.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#define PD_DEVICE_KEY CPU

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))

// The address of a static object names the array; the size is part of the type's instantiation.
#define PD_SHARED(T, name, size)      \
    static const char name##_key = 0; \
    T* const name =                   \
        reinterpret_cast<T*>(::emulation::shared_array(&name##_key, sizeof(T) * (size), alignof(T)))
#define PD_SHARED_DYNAMIC(T, name) T* const name = reinterpret_cast<T*>(::emulation::dynamic_array())

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
using cudaStream_t = void*;

namespace emulation {

constexpr int kWarp = 32;
constexpr size_t kStack = 64 << 10, kGuard = 64;
constexpr unsigned char kPoison = 0xff, kGuardByte = 0xa5;

// What a fiber waits for.
enum class Wait { none, block, warp };

// Where a fiber, or the scheduler, goes on. The first entry needs a ucontext; after that setjmp and longjmp
// do, which unlike swapcontext make no system call. AddressSanitizer knows swapcontext only.
struct Place {
    ucontext_t context;
    jmp_buf jump;
    bool entered = false;
};

__attribute__((noinline)) inline void switch_to(Place& from, Place& to) {
#if defined(__SANITIZE_ADDRESS__)
    swapcontext(&from.context, &to.context);
#else
    if (_setjmp(from.jump)) return;
    if (to.entered) _longjmp(to.jump, 1);
    to.entered = true;
    setcontext(&to.context);
#endif
}

struct Fiber {
    Place place;
    std::unique_ptr<char[]> stack;
    dim3 thread;
    int rank = 0;
    Wait wait = Wait::none;
    bool done = false;
    const char* what = "";  // the collective it waits in
    unsigned mask = 0;      // of the warp collective
    uint64_t given = 0;     // its value there
    uint64_t round = 0;     // of its warp's exchange that it may read next
};

struct Warp {
    uint64_t published[2][kWarp];  // by parity of the round: a slow reader still finds the last but one
    uint64_t rounds = 0;
};

struct SharedArray {
    const void* key;
    size_t size;
    std::unique_ptr<unsigned char[]> memory;
    unsigned char* data;
};

struct Block {
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    std::vector<SharedArray> arrays;
    size_t dynamic_size = 0;
    Place scheduler{{}, {}, true};
    Fiber* running = nullptr;
    std::function<void()> body;
    std::string error;
};

inline thread_local Block* current = nullptr;

[[noreturn]] inline void fail(const std::string& message);

inline void pause(Wait wait, const char* what) {
    Fiber& self = *current->running;
    self.wait = wait;
    self.what = what;
    switch_to(self.place, current->scheduler);
}

inline void fail(const std::string& message) {
    if (current->error.empty()) current->error = message;
    for (;;) pause(Wait::block, "an error");  // the scheduler does not come back
}

inline unsigned char* shared_array(const void* key, size_t size, size_t) {
    Block& block = *current;
    for (const SharedArray& array : block.arrays)
        if (array.key == key) {
            if (array.size != size) fail("a shared array was asked for with two sizes");
            return array.data;
        }
#if defined(__SANITIZE_ADDRESS__)
    constexpr size_t guard = 0;
#else
    constexpr size_t guard = kGuard;
#endif
    SharedArray array{key, size, std::make_unique<unsigned char[]>(size + 2 * guard), nullptr};
    array.data = array.memory.get() + guard;
    std::memset(array.memory.get(), kGuardByte, guard);
    std::memset(array.data, kPoison, size);
    std::memset(array.data + size, kGuardByte, guard);
    block.arrays.push_back(std::move(array));
    return block.arrays.back().data;
}

inline unsigned char* dynamic_array() {
    static const char key = 0;
    return shared_array(&key, current->dynamic_size, 16);
}

inline void check_guards(const Block& block) {
#if !defined(__SANITIZE_ADDRESS__)
    for (const SharedArray& array : block.arrays)
        for (size_t i = 0; i < kGuard; ++i)
            if (array.memory[i] != kGuardByte || array.data[array.size + i] != kGuardByte)
                throw std::runtime_error("emulation: written outside a shared array of " +
                                         std::to_string(array.size) + " bytes");
#else
    (void)block;
#endif
}

// A fiber lives through many blocks: it runs its thread of one, then waits to be given the next.
inline void fiber_main() {
    for (;;) {
        current->body();
        current->running->done = true;
        switch_to(current->running->place, current->scheduler);
    }
}

// Apart from the loops over blocks, since what calls getcontext may keep no variable in a register.
__attribute__((noinline)) inline void make_fiber(Fiber& fiber, size_t rank) {
    fiber.rank = static_cast<int>(rank);
    fiber.stack.reset(new char[kStack]);
    ucontext_t& context = fiber.place.context;
    getcontext(&context);
    context.uc_stack.ss_sp = fiber.stack.get();
    context.uc_stack.ss_size = kStack;
    context.uc_link = nullptr;
    makecontext(&context, fiber_main, 0);
}

// Blocks whose launch ended well, to use again: their fibers wait for work. One a number of threads.
inline thread_local std::map<size_t, std::unique_ptr<Block>> spares;

inline std::unique_ptr<Block> take_block(size_t threads) {
    if (auto found = spares.find(threads); found != spares.end()) {
        std::unique_ptr<Block> block = std::move(found->second);
        spares.erase(found);
        return block;
    }
    auto block = std::make_unique<Block>();
    block->fibers.resize(threads);
    for (size_t rank = 0; rank < threads; ++rank) make_fiber(block->fibers[rank], rank);
    return block;
}

// Lets the threads of a barrier go if all have come. True where some were let go.
inline bool release_block(Block& block) {
    for (const Fiber& fiber : block.fibers)
        if (fiber.done || fiber.wait != Wait::block) return false;
    for (Fiber& fiber : block.fibers) fiber.wait = Wait::none;
    return true;
}

inline bool release_warp(Block& block, size_t index) {
    const size_t first = index * kWarp, last = std::min(first + kWarp, block.fibers.size());
    unsigned mask = 0;
    const char* what = nullptr;
    for (size_t i = first; i < last; ++i)
        if (block.fibers[i].wait == Wait::warp) {
            const Fiber& fiber = block.fibers[i];
            if (what && (fiber.mask != mask || std::strcmp(fiber.what, what) != 0))
                throw std::runtime_error(
                    std::string("emulation: lanes of a warp meet in different collectives (") + what +
                    " and " + fiber.what + ") or under different masks");
            mask = fiber.mask, what = fiber.what;
        }
    if (!what) return false;
    for (size_t lane = 0; lane < kWarp; ++lane) {
        if (!(mask >> lane & 1)) continue;
        if (first + lane >= last)
            throw std::runtime_error("emulation: a mask names a lane that the block has not");
        const Fiber& fiber = block.fibers[first + lane];
        if (fiber.done || fiber.wait != Wait::warp) return false;
    }
    Warp& warp = block.warps[index];
    for (size_t i = first; i < last; ++i) {
        Fiber& fiber = block.fibers[i];
        if (fiber.wait != Wait::warp) continue;
        if (!(mask >> fiber.rank % kWarp & 1))
            throw std::runtime_error(std::string("emulation: a lane calls ") + what +
                                     " without being in its mask");
        warp.published[warp.rounds % 2][fiber.rank % kWarp] = fiber.given;
        fiber.round = warp.rounds;
        fiber.wait = Wait::none;
    }
    ++warp.rounds;
    return true;
}

inline void run_block(Block& block, unsigned number) {
    const size_t count = block.fibers.size();
    for (;;) {
        bool ran = false, left = false;
        for (size_t n = 0; n < count; ++n) {
            Fiber& fiber = block.fibers[number % 2 ? count - 1 - n : n];
            if (fiber.done) continue;
            left = true;
            if (fiber.wait != Wait::none) continue;
            ran = true;
            block.running = &fiber;
            switch_to(block.scheduler, fiber.place);
            if (!block.error.empty()) throw std::runtime_error("emulation: " + block.error);
        }
        if (!left) return check_guards(block);
        for (size_t warp = 0; warp < block.warps.size(); ++warp) ran |= release_warp(block, warp);
        ran |= release_block(block);
        if (!ran) {
            for (const Fiber& fiber : block.fibers)
                if (!fiber.done)
                    throw std::runtime_error(std::string("emulation: ") + fiber.what +
                                             " is not reached by all threads that it waits for");
        }
    }
}

inline int lane() { return current->running->rank % kWarp; }

// Publishes `value` and returns what `from` published; all lanes of `mask` must come.
template <class T>
T exchange(unsigned mask, T value, int from, const char* what) {
    static_assert(sizeof(T) <= 8);
    Fiber& self = *current->running;
    self.mask = mask;
    self.given = 0;
    std::memcpy(&self.given, &value, sizeof(T));
    pause(Wait::warp, what);
    if (from < 0 || from >= kWarp || !(mask >> from & 1))
        fail(std::string(what) + " reads a lane outside its mask");
    T result;
    std::memcpy(&result, &current->warps[self.rank / kWarp].published[self.round % 2][from], sizeof(T));
    return result;
}

}  // namespace emulation

// ---- what kernels call ----

inline thread_local dim3 blockIdx, blockDim, gridDim;
#define threadIdx (::emulation::current->running->thread)

inline void __syncthreads() { emulation::pause(emulation::Wait::block, "__syncthreads"); }
inline void __syncwarp(unsigned mask = 0xffffffffu) {
    emulation::exchange(mask, 0, __builtin_ctz(mask), "__syncwarp");
}

template <class T>
T __shfl_sync(unsigned mask, T value, int from) {
    return emulation::exchange(mask, value, from, "__shfl_sync");
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int distance) {
    return emulation::exchange(mask, value, emulation::lane() ^ distance, "__shfl_xor_sync");
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, int distance) {
    const int from = emulation::lane() + distance;
    return emulation::exchange(mask, value, from < emulation::kWarp ? from : emulation::lane(),
                               "__shfl_down_sync");
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, int distance) {
    const int from = emulation::lane() - distance;
    return emulation::exchange(mask, value, from >= 0 ? from : emulation::lane(), "__shfl_up_sync");
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
    emulation::Fiber& self = *emulation::current->running;
    emulation::exchange(mask, uint64_t{predicate != 0}, __builtin_ctz(mask), "__ballot_sync");
    const auto& votes = emulation::current->warps[self.rank / emulation::kWarp].published[self.round % 2];
    unsigned result = 0;
    for (int i = 0; i < emulation::kWarp; ++i)
        if (mask >> i & 1) result |= static_cast<unsigned>(votes[i] & 1) << i;
    return result;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }

template <class T>
T atomicAdd(T* address, T value) {  // a fiber is not interrupted
    const T before = *address;
    *address = before + value;
    return before;
}

namespace pydistill::cuda {

class Device {
  public:
    template <class Tensor>
    explicit Device(const Tensor&) {}
    cudaStream_t stream() const { return nullptr; }
};

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t,
            Arguments... arguments) {
    const size_t threads = size_t{block.x} * block.y * block.z;
    if (threads == 0 || threads > 1024 || size_t{grid.x} * grid.y * grid.z == 0)
        throw std::runtime_error(
            "emulation: a launch needs 1 to 1024 threads a block and at least one block");
    if (shared_bytes > 227 << 10)
        throw std::runtime_error("emulation: more shared memory than an sm_90 block has");
    std::unique_ptr<emulation::Block> state = emulation::take_block(threads);
    state->body = [&] { kernel(arguments...); };
    state->dynamic_size = shared_bytes;
    for (auto& fiber : state->fibers)
        fiber.thread =
            dim3(fiber.rank % block.x, fiber.rank / block.x % block.y, fiber.rank / block.x / block.y);
    emulation::current = state.get();
    gridDim = grid, blockDim = block;
    unsigned number = 0;
    for (unsigned z = 0; z < grid.z; ++z)
        for (unsigned y = 0; y < grid.y; ++y)
            for (unsigned x = 0; x < grid.x; ++x) {
                blockIdx = dim3(x, y, z);
                state->arrays.clear();
                state->warps.assign((threads + emulation::kWarp - 1) / emulation::kWarp, {});
                for (auto& fiber : state->fibers) fiber.done = false;
                emulation::run_block(*state, number++);
            }
    emulation::spares[threads] = std::move(state);
}

}  // namespace pydistill::cuda
