// The formulas of norm_relu_pool, written once for both backends. V is a scalar or a vector of them.
//
// Of one plane (one channel of one image, M = H W pixels), with r = 1 / sqrt(var + eps):
//   xh = (x - mean) r,  y = w xh + b,  out = 1/4 sum over each 2x2 window of max(y, 0).
// First derivatives, g = grad of out spread over its window and divided by 4 (0 outside the pooled area),
// gy = g where y > 0, a = mean(gy), c = mean(gy xh):
//   gx = w r (gy - a - xh c),  gw = sum over images of M c,  gb = sum over images of M a.
// Second derivatives, for given v = grad of gx, u = grad of gw, z = grad of gb; V1 = mean(v),
// V2 = mean(v xh), V3 = mean(v gy), T = V3 - V1 a - V2 c:
//   q = w r (v - V1 - V2 xh) + u xh + z;   grad of grad: 1/4 sum over each window of q where y > 0
//   h = w r (-V2 gy - c v) + u gy;         grad of x: r (h - mean(h) - xh mean(h xh)) - r^2 xh w T
//   mean(h) = w r (-V2 a - c V1) + u a;    mean(h xh) = -2 w r c V2 + u c
//   grad of w: sum over images of r M T;   grad of b: 0, the bias only moves the mask.
#pragma once

#include "formula.h"

namespace pydistill::norm_relu_pool {

enum class Storage { f32, f64, b16 };

// What a kernel works on. x, v, grad_x (R, C, H, W) and grad, pooled (R, C, H/2, W/2), all in one order;
// weight, bias, u, z (G, C); mean, rstd, and what each plane adds to the gradients of weight and bias, (R,
// C).
struct Job {
    Storage storage;
    bool channels_last;
    int64_t rows, channels, height, width, groups;
    double eps;
    const void *x, *grad, *v;             // v: gradient of gx
    const void *weight, *bias, *u, *z;    // u, z: gradients of gw, gb
    void *mean, *rstd, *pooled, *grad_x;  // pooled: the output, or the gradient of grad
    void *part_w, *part_b;

    // Where image `row` finds its weights: the images of a group are consecutive.
    PD_FORMULA int64_t weights_of(int64_t row) const { return row / (rows / groups) * channels; }
};

// `value` where y > 0, else 0. Not-a-numbers pass, as they do in ReLU and its derivative.
template <class V>
PD_FORMULA V rectify(V y, V value) {
    return y <= V{} ? V{} : value;
}

// What is constant in one plane. A is the type sums are kept in; as a vector, one lane a channel.
// Kernels work on deviations d = x - mean instead of xh = d r, and on scale = w r: fewer multiplications.
template <class A>
struct Plane {
    A mean, rstd, scale, bias;

    Plane() = default;
    PD_FORMULA Plane(A mean_, A rstd_, A weight, A bias_)
        : mean(mean_), rstd(rstd_), scale(weight * rstd_), bias(bias_) {}

    template <class V>
    PD_FORMULA V deviation(V x) const {
        return x - mean;
    }
    template <class V>
    PD_FORMULA V affine(V d) const {
        return d * scale + bias;
    }
};

template <class A>
struct First {
    A scale, offset, slope;

    // From the sums over the plane of gy and of gy d.
    First() = default;
    PD_FORMULA First(const Plane<A>& plane, A sum_gy, A sum_gy_d, A inverse_m)
        : scale(plane.scale),
          offset(plane.scale * sum_gy * inverse_m),
          slope(plane.scale * plane.rstd * plane.rstd * sum_gy_d * inverse_m) {}

    template <class V>
    PD_FORMULA V grad_x(V gy, V d) const {
        return gy * scale - offset - d * slope;
    }
};

// Sums over a plane that the second derivatives need.
template <class A>
struct Sums {
    A gy, gy_d, v, v_d, v_gy;

    template <class V>
    PD_FORMULA void add(V gradient_y, V d, V direction) {
        gy += gradient_y;
        gy_d += gradient_y * d;
        v += direction;
        v_d += direction * d;
        v_gy += direction * gradient_y;
    }
};

template <class A>
struct Second {
    A scale, shift, turn, pull, slope, offset, grad_w;

    Second() = default;
    PD_FORMULA Second(const Plane<A>& plane, const Sums<A>& sums, A u, A z, A m, A inverse_m) {
        const A r = plane.rstd, a = sums.gy * inverse_m, c = sums.gy_d * inverse_m * r;
        const A v1 = sums.v * inverse_m, v2 = sums.v_d * inverse_m * r;
        const A t = sums.v_gy * inverse_m - v1 * a - v2 * c;
        scale = plane.scale;
        shift = z - v1 * scale;  // q = v scale + d turn + shift
        turn = r * (u - v2 * scale);
        pull = r * c * scale;                                             // r h = gy turn - v pull
        offset = r * (u * a - scale * (v2 * a + c * v1));                 // r mean(h)
        slope = r * r * (u * c - scale * (c * v2 + c * v2) + scale * t);  // r^2 (mean(h xh) + r w T)
        grad_w = r * m * t;                                               // the plane's part of it
    }

    template <class V>
    PD_FORMULA V grad_grad(V v, V d) const {
        return v * scale + d * turn + shift;
    }
    template <class V>
    PD_FORMULA V grad_x(V gy, V v, V d) const {
        return gy * turn - v * pull - d * slope - offset;
    }
};

}  // namespace pydistill::norm_relu_pool
