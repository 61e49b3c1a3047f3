// Element by element: gated and plain activations, rotary embedding, sums, conversions.

typedef struct {
    vec value, slope;
} activated;

/// The activation and its derivative.
EK_INLINE activated activate(vec x, ek_activation activation) {
    switch (activation) {
        case EK_SILU: {
            vec s = sigmoid_vec(x);
            return (activated){x * s, s * (1.0f + x * (1.0f - s))};
        }
        case EK_GELU: {
            vec cdf = 0.5f * (1.0f + erf_vec(x * 0.70710678118654752f));
            vec pdf = 0.3989422804014327f * exp_vec(-0.5f * x * x);
            return (activated){x * cdf, cdf + x * pdf};
        }
        case EK_GELU_TANH: {
            const float c = 0.7978845608028654f;
            vec t = tanh_vec(c * (x + 0.044715f * x * x * x));
            vec inner = c * (1.0f + 3.0f * 0.044715f * x * x);
            return (activated){0.5f * x * (1.0f + t), 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * inner};
        }
        case EK_RELU2: {
            vec positive = max_vec(x, splat(0));
            return (activated){positive * positive, 2.0f * positive};
        }
        case EK_RELU: return (activated){max_vec(x, splat(0)), x > 0.0f ? splat(1) : splat(0)};
        case EK_QUICK_GELU: {
            vec s = sigmoid_vec(1.702f * x);
            return (activated){x * s, s * (1.0f + 1.702f * x * (1.0f - s))};
        }
        case EK_TANH: {
            vec t = tanh_vec(x);
            return (activated){t, 1.0f - t * t};
        }
    }
    return (activated){x, splat(1)};
}

EK_INLINE void gated_forward_with(float *y, const float *gate, const float *up, ptrdiff_t count,
                                  ek_activation activation) {
    ptrdiff_t i = 0;
    for (; i + EK_WIDTH <= count; i += EK_WIDTH) {
        vec a = activate(load(gate + i), activation).value;
        store(y + i, up ? a * load(up + i) : a);
    }
    if (i < count) {
        vec a = activate(load_tail(gate + i, count - i, 0), activation).value;
        store_tail(y + i, up ? a * load_tail(up + i, count - i, 0) : a, count - i);
    }
}

// One loop for each activation, so that the choice is made outside of it.
#define EK_EACH_ACTIVATION(call)                     \
    switch (activation) {                            \
        case EK_SILU: call(EK_SILU); break;          \
        case EK_GELU: call(EK_GELU); break;          \
        case EK_GELU_TANH: call(EK_GELU_TANH); break; \
        case EK_RELU2: call(EK_RELU2); break;        \
        case EK_RELU: call(EK_RELU); break;          \
        case EK_TANH: call(EK_TANH); break;          \
        case EK_QUICK_GELU: call(EK_QUICK_GELU); break; \
    }

static void gated_forward(float *y, const float *gate, const float *up, ptrdiff_t count, ek_activation activation) {
#define EK_CALL(kind) gated_forward_with(y, gate, up, count, kind)
    EK_EACH_ACTIVATION(EK_CALL)
#undef EK_CALL
}

EK_INLINE void gated_backward_with(float *dgate, float *dup, const float *dy, const float *gate, const float *up,
                                   ptrdiff_t count, ek_activation activation, int accumulate_gate,
                                   int accumulate_up) {
    for (ptrdiff_t i = 0; i < count; i += EK_WIDTH) {
        ptrdiff_t n = count - i < EK_WIDTH ? count - i : EK_WIDTH;
        int full = n == EK_WIDTH;
        vec g = full ? load(dy + i) : load_tail(dy + i, n, 0);
        vec u = !up ? splat(1) : full ? load(up + i) : load_tail(up + i, n, 0);
        activated a = activate(full ? load(gate + i) : load_tail(gate + i, n, 0), activation);
        if (dgate) {
            vec d = g * u * a.slope;
            if (accumulate_gate) d += full ? load(dgate + i) : load_tail(dgate + i, n, 0);
            if (full) store(dgate + i, d);
            else store_tail(dgate + i, d, n);
        }
        if (dup) {
            vec d = g * a.value;
            if (accumulate_up) d += full ? load(dup + i) : load_tail(dup + i, n, 0);
            if (full) store(dup + i, d);
            else store_tail(dup + i, d, n);
        }
    }
}

static void gated_backward(float *dgate, float *dup, const float *dy, const float *gate, const float *up,
                           ptrdiff_t count, ek_activation activation, int accumulate_gate, int accumulate_up) {
#define EK_CALL(kind) gated_backward_with(dgate, dup, dy, gate, up, count, kind, accumulate_gate, accumulate_up)
    EK_EACH_ACTIVATION(EK_CALL)
#undef EK_CALL
}

/// What alpha_n multiplies, without its linear part: expm1(min(x, epsilon)).
EK_INLINE vec xielu_curve(vec x, float epsilon) { return expm1_vec(min_vec(x, splat(epsilon))); }

static void xielu_forward(float *y, const float *x, ptrdiff_t count, ek_xielu f) {
    for (ptrdiff_t i = 0; i < count; i += EK_WIDTH) {
        ptrdiff_t n = count - i < EK_WIDTH ? count - i : EK_WIDTH;
        vec v = n == EK_WIDTH ? load(x + i) : load_tail(x + i, n, 0);
        vec bent = v > 0.0f ? f.alpha_p * v * v : f.alpha_n * (xielu_curve(v, f.epsilon) - v);
        if (n == EK_WIDTH) store(y + i, bent + f.beta * v);
        else store_tail(y + i, bent + f.beta * v, n);
    }
}

static void xielu_backward(float *dx, const float *dy, const float *x, ptrdiff_t count, ek_xielu f, int accumulate) {
    for (ptrdiff_t i = 0; i < count; i += EK_WIDTH) {
        ptrdiff_t n = count - i < EK_WIDTH ? count - i : EK_WIDTH;
        int full = n == EK_WIDTH;
        vec v = full ? load(x + i) : load_tail(x + i, n, 0), g = full ? load(dy + i) : load_tail(dy + i, n, 0);
        vec curve = v < f.epsilon ? exp_vec(v) : splat(0);
        vec slope = v > 0.0f ? 2.0f * f.alpha_p * v : f.alpha_n * (curve - 1.0f);
        vec d = g * (slope + f.beta);
        if (accumulate) d += full ? load(dx + i) : load_tail(dx + i, n, 0);
        if (full) store(dx + i, d);
        else store_tail(dx + i, d, n);
    }
}

static void xielu_backward_alphas(double sums[2], const float *dy, const float *x, ptrdiff_t count, ek_xielu f) {
    for (ptrdiff_t i = 0; i < count; i++) {
        double v = x[i];
        if (v > 0) sums[0] += dy[i] * v * v;
        else sums[1] += dy[i] * (expm1(v < f.epsilon ? v : f.epsilon) - v);
    }
}

static void rotate(float *y, const float *x, const float *cosines, const float *sines, ptrdiff_t rows, ptrdiff_t heads,
                   ptrdiff_t head_dim, ptrdiff_t half, int interleaved, float direction, int accumulate) {
    ptrdiff_t step = interleaved ? 2 : 1;
    ptrdiff_t distance = interleaved ? 1 : half;
    for (ptrdiff_t r = 0; r < rows; r++) {
        const float *c = cosines + r * half, *s = sines + r * half;
        for (ptrdiff_t h = 0; h < heads; h++) {
            const float *in = x + (r * heads + h) * head_dim;
            float *out = y + (r * heads + h) * head_dim;
            for (ptrdiff_t i = 0; i < half; i++) {
                float a = in[i * step], b = in[i * step + distance];
                float ra = a * c[i] - b * (direction * s[i]), rb = b * c[i] + a * (direction * s[i]);
                out[i * step] = accumulate ? out[i * step] + ra : ra;
                out[i * step + distance] = accumulate ? out[i * step + distance] + rb : rb;
            }
            for (ptrdiff_t i = 2 * half; i < head_dim; i++) out[i] = accumulate ? out[i] + in[i] : in[i];
        }
    }
}

static void add_scaled(float *y, const float *x, float scale, ptrdiff_t count, int accumulate) {
    if (accumulate) {
        for (ptrdiff_t i = 0; i < count; i++) y[i] += scale * x[i];
    } else {
        for (ptrdiff_t i = 0; i < count; i++) y[i] = scale * x[i];
    }
}

static void sum_scaled(float *sum, const float *a, const float *b, float scale, ptrdiff_t count) {
    for (ptrdiff_t i = 0; i < count; i++) sum[i] = a[i] + scale * b[i];
}

static void bf16_to_f32(float *y, const uint16_t *x, ptrdiff_t count) {
    for (ptrdiff_t i = 0; i < count; i++) {
        uint32_t bits = (uint32_t)x[i] << 16;
        memcpy(&y[i], &bits, 4);
    }
}

/// Rounds to nearest, ties to even; a NaN stays one.
static void f32_to_bf16(uint16_t *y, const float *x, ptrdiff_t count) {
    for (ptrdiff_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], 4);
        uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
        y[i] = (bits & 0x7FFFFFFF) > 0x7F800000 ? (uint16_t)(bits >> 16 | 0x40) : (uint16_t)rounded;
    }
}

static void f16_to_f32(float *y, const uint16_t *x, ptrdiff_t count) {
    for (ptrdiff_t i = 0; i < count; i++) {
        uint32_t sign = (uint32_t)(x[i] & 0x8000) << 16, magnitude = x[i] & 0x7FFF;
        // Shifted to f32's place the exponent lacks a bias of 112, which a product with 2^112 supplies, subnormals too.
        uint32_t bits = magnitude << 13;
        float value;
        memcpy(&value, &bits, 4);
        value *= 0x1p112f;
        memcpy(&bits, &value, 4);
        if (magnitude >= 0x7C00) bits = 0x7F800000 | (magnitude & 0x3FF) << 13;
        bits |= sign;
        memcpy(&y[i], &bits, 4);
    }
}
