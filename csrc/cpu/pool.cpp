#ifndef PD_ISA

#include "pool.h"

#include <cstdlib>
#include <list>
#include <mutex>
#include <new>
#include <vector>

namespace pydistill::cpu {
namespace {

constexpr int64_t kLarge = int64_t{4} << 20;  // below, the C library keeps freed memory itself
constexpr int64_t kLimit = int64_t{512} << 20;
constexpr int64_t kGrain = int64_t{1} << 16;  // sizes are rounded up to this

struct Block {
    void* data;
    int64_t size;
};

class Pool {
  public:
    // A kept block that fits without wasting more than an eighth, the latest freed first; else a new one.
    Block take(int64_t size) {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            for (auto at = kept_.begin(); at != kept_.end(); ++at)
                if (at->size >= size && at->size - size <= size / 8) {
                    const Block found = *at;
                    kept_.erase(at);
                    held_ -= found.size;
                    return found;
                }
        }
        void* data = std::aligned_alloc(kGrain, size);
        if (data == nullptr) {
            shrink(0);  // what is kept may be what is missing
            data = std::aligned_alloc(kGrain, size);
        }
        STD_TORCH_CHECK(data != nullptr, "pydistill: out of memory: an output of ", size, " bytes");
        return {data, size};
    }

    void give(Block block) {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            kept_.push_front(block);
            held_ += block.size;
        }
        shrink(limit());
    }

    // Frees the blocks that were not used for longest until no more than `bytes` are kept.
    void shrink(int64_t bytes) {
        const std::lock_guard<std::mutex> lock(mutex_);
        while (held_ > bytes) {
            held_ -= kept_.back().size;
            std::free(kept_.back().data);
            kept_.pop_back();
        }
    }

    int64_t held() {
        const std::lock_guard<std::mutex> lock(mutex_);
        return held_;
    }
    int64_t limit() {
        const std::lock_guard<std::mutex> lock(mutex_);
        return limit_;
    }
    void set_limit(int64_t bytes) {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            limit_ = bytes;
        }
        shrink(bytes);
    }

  private:
    std::mutex mutex_;
    std::list<Block> kept_;
    int64_t held_ = 0, limit_ = kLimit;
};

Pool& pool() {
    static Pool* const made = new Pool;  // never destroyed: tensors may outlive static objects
    return *made;
}

int64_t bytes_of(std::initializer_list<int64_t> shape, const Tensor& like) {
    int64_t size = static_cast<int64_t>(like.element_size());
    for (const int64_t length : shape) size *= length;
    return size;
}

Tensor pooled(int64_t size, std::initializer_list<int64_t> shape, const int64_t* strides,
              const Tensor& like) {
    const Block block = pool().take((size + kGrain - 1) / kGrain * kGrain);
    return torch::stable::from_blob(block.data, {shape.begin(), shape.size()}, {strides, shape.size()},
                                    like.device(), like.scalar_type(),
                                    [block](void*) { pool().give(block); });
}

}  // namespace

Tensor output(std::initializer_list<int64_t> shape, const Tensor& like, Order order) {
    const int64_t size = bytes_of(shape, like);
    if (size < kLarge) return empty(shape, like, order);
    const int64_t* const n = shape.begin();
    const int64_t nchw[] = {n[1] * n[2] * n[3], n[2] * n[3], n[3], 1};
    const int64_t nhwc[] = {n[1] * n[2] * n[3], 1, n[1] * n[3], n[1]};
    return pooled(size, shape, order == Order::nchw ? nchw : nhwc, like);
}

Tensor output(std::initializer_list<int64_t> shape, const Tensor& like) {
    const int64_t size = bytes_of(shape, like);
    if (size < kLarge) return empty(shape, like);
    std::vector<int64_t> strides(shape.size(), 1);
    for (size_t dim = shape.size() - 1; dim > 0; --dim)
        strides[dim - 1] = strides[dim] * shape.begin()[dim];
    return pooled(size, shape, strides.data(), like);
}

int64_t pool_held() { return pool().held(); }
int64_t pool_limit() { return pool().limit(); }
void set_pool_limit(int64_t bytes) { pool().set_limit(bytes); }

}  // namespace pydistill::cpu

#endif
