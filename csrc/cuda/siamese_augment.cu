// siamese_augment on CUDA: a block an image. What lies between two steps is kept in shared memory, or,
// where an image is too large, in memory that a limited number of blocks have to themselves.
#include "../common/siamese_augment_ops.h"
#include "siamese_augment_image.h"

namespace pydistill::cuda {
namespace {

constexpr int kBuffers = 2;
constexpr int kLargeBlocks = 128;
constexpr size_t kSharedLimit = 96 << 10;  // two blocks a multiprocessor on sm_90, one on sm_80

// One image's input, output and what lies between.
template <class S>
struct Image {
    Values<S> x;
    S* out;
    acc_t<S>*first, *second;
};

template <class S>
struct Forward {
    using A = acc_t<S>;

    __device__ static void run(const Shape& shape, const Effect& effect, const Image<S>& image) {
        const Move still{0, 0, false, 0, 0, 0, 0};
        const auto input = [&](int i, int j, int c) { return moved(shape, still, image.x, i, j, c); };
        const Color<A> color(shape, effect, input);
        const auto value = [&](int i, int j, int c) -> A {
            const int64_t row = i + effect.move.down, column = effect.move.column(j);
            const bool there = row >= 0 && row < shape.height && column >= 0 && column < shape.width;
            if (!there || effect.move.cut(i, j)) return A{};
            const int y = static_cast<int>(row), x = static_cast<int>(column);
            return effect.color ? color(shape, input, y, x, c) : input(y, x, c);
        };
        if (!effect.samples()) {
            over_values(shape, [&](int at, int i, int j, int c) { narrow(value(i, j, c), image.out[at]); });
            return;
        }
        over_values(shape, [&](int at, int i, int j, int c) { image.first[at] = value(i, j, c); });
        __syncthreads();
        Values<A> last{image.first};
        if (effect.scales && effect.rotates) {
            const Sampling<A> scale(effect.scale, shape.height, shape.width);
            over_values(shape, [&](int at, int i, int j, int c) {
                image.second[at] = sampled(shape, scale, last, i, j, c);
            });
            __syncthreads();
            last = {image.second};
        }
        const Sampling<A> sampling(effect.rotates ? effect.rotation : effect.scale, shape.height,
                                   shape.width);
        over_values(shape, [&](int at, int i, int j, int c) {
            narrow(sampled(shape, sampling, last, i, j, c), image.out[at]);
        });
    }
};

template <class S>
struct Backward {
    using A = acc_t<S>;

    __device__ static void run(const Shape& shape, const Effect& effect, const Image<S>& image) {
        if (!effect.samples()) return finish(shape, effect, image.x, image.out);
        Values<A> last{image.first};
        spread(shape, effect.rotates ? effect.rotation : effect.scale, image.x, image.first);
        if (effect.scales && effect.rotates) {
            spread(shape, effect.scale, last, image.second);
            last = {image.second};
        }
        finish(shape, effect, last, image.out);
    }

  private:
    template <class T>
    __device__ static void spread(const Shape& shape, const Map& map, const Values<T>& from, A* to) {
        const Spread<A> spread(map, shape);
        over_values(shape, [&](int at, int i, int j, int c) { to[at] = spread(shape, from, i, j, c); });
        __syncthreads();
    }

    // The adjoints of the move and of color.
    template <class T>
    __device__ static void finish(const Shape& shape, const Effect& effect, const Values<T>& from, S* out) {
        const Move move = effect.adjoint_move(shape.width);
        const auto value = [&](int i, int j, int c) { return moved(shape, move, from, i, j, c); };
        const Color<A> color(shape, effect, value);
        over_values(shape, [&](int at, int i, int j, int c) {
            narrow(effect.color ? color(shape, value, i, j, c) : value(i, j, c), out[at]);
        });
    }
};

template <class S, template <class> class Direction>
__global__ void over_images(Job job, acc_t<S>* buffers) {
    using A = acc_t<S>;
    PD_SHARED_DYNAMIC(A, shared);
    PD_SHARED(double, turn, 2);
    const Shape shape(job);
    A* const own = buffers ? buffers + static_cast<int64_t>(blockIdx.x) * kBuffers * shape.size : shared;
    for (int64_t n = blockIdx.x; n < job.count; n += gridDim.x) {
        const Image<S> image{{static_cast<const S*>(job.x) + n * shape.size},
                             static_cast<S*>(job.out) + n * shape.size,
                             own,
                             own + shape.size};
        const int64_t index = job.rows[n];
        if (index < 0 || index >= job.groups) {  // nothing to read; to refuse it would be to wait for it
            const A nothing = static_cast<A>(__builtin_nanf(""));
            over_values(shape, [&](int at, int, int, int) { narrow(nothing, image.out[at]); });
            continue;
        }
        const float* const row = job.values + index * kColumns;
        if (threadIdx.x == 0) {
            turn[0] = cos(static_cast<double>(row[angle]));
            turn[1] = sin(static_cast<double>(row[angle]));
        }
        __syncthreads();
        Direction<S>::run(shape, Effect(row, turn[0], turn[1], job), image);
        __syncthreads();  // before the next image takes the buffers
    }
}

template <class S, template <class> class Direction>
void start(const Job& job, const Tensor& x) {
    using A = acc_t<S>;
    const Device device(x);
    const int64_t size = job.channels * job.height * job.width;
    STD_TORCH_CHECK(size < (int64_t{1} << 30), "siamese_augment: an image of ", size,
                    " values is too large");
    const size_t wanted = static_cast<size_t>(size) * kBuffers * sizeof(A);
    const bool kept = wanted <= kSharedLimit;
    const int64_t blocks = kept || job.count < kLargeBlocks ? job.count : kLargeBlocks;
    const int64_t room = kept ? 0 : blocks * kBuffers * size;
    Tensor buffers =
        torch::stable::empty({&room, 1}, statistic_dtype("siamese_augment", x), std::nullopt, x.device());
    launch(over_images<S, Direction>, dim3(static_cast<unsigned>(blocks)), dim3(kBlock), kept ? wanted : 0,
           device.stream(), job, kept ? nullptr : static_cast<A*>(buffers.mutable_data_ptr()));
}

template <template <class> class Direction>
void run(const Job& job, const Tensor& x) {
    if (job.storage == Storage::f32)
        start<float, Direction>(job, x);
    else if (job.storage == Storage::f64)
        start<double, Direction>(job, x);
    else
        start<bf16, Direction>(job, x);
}

struct Backend {
    static Tensor output(std::initializer_list<int64_t> shape, const Tensor& like, Order order) {
        return empty(shape, like, order);
    }
    static void check(const char*, const Job&) {}  // rows lie on the device: see over_images
    static void forward(const Job& job, const Tensor& x) { run<Forward>(job, x); }
    static void backward(const Job& job, const Tensor& x) { run<Backward>(job, x); }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(pydistill, PD_DEVICE_KEY, m) {
    siamese_augment::Operators<Backend>::implement(m);
}

}  // namespace pydistill::cuda
