// RMSNorm (Zhang, Sennrich 2019), LayerNorm (Ba, Kiros, Hinton 2016) and the softmax of a row of logits.

static void rms_norm_forward(float *y, float *inverse, const float *x, const float *gain, float offset, ptrdiff_t rows,
                             ptrdiff_t width, float epsilon) {
    for (ptrdiff_t r = 0; r < rows; r++) {
        const float *in = x + r * width;
        float *out = y + r * width;
        float scale = 1.0f / sqrtf(dot(in, in, width) / (float)width + epsilon);
        if (inverse) inverse[r] = scale;
        for (ptrdiff_t i = 0; i < width; i++) out[i] = in[i] * scale * (gain[i] + offset);
    }
}

static void rms_norm_backward(float *dx, float *dgain, const float *dy, const float *x, const float *gain,
                              float offset, const float *inverse, ptrdiff_t rows, ptrdiff_t width, int accumulate) {
    for (ptrdiff_t r = 0; r < rows; r++) {
        const float *in = x + r * width, *g = dy + r * width;
        float scale = inverse[r];
        if (dx) {
            float *d = dx + r * width;
            vec s = splat(0);
            ptrdiff_t i = 0;
            for (; i + EK_WIDTH <= width; i += EK_WIDTH) s += load(g + i) * (load(gain + i) + offset) * load(in + i);
            float inner = sum_of(s);
            for (; i < width; i++) inner += g[i] * (gain[i] + offset) * in[i];
            float pull = inner * scale * scale * scale / (float)width;
            for (i = 0; i < width; i++) {
                float value = g[i] * (gain[i] + offset) * scale - in[i] * pull;
                d[i] = accumulate ? d[i] + value : value;
            }
        }
        if (dgain) {
            for (ptrdiff_t i = 0; i < width; i++) dgain[i] += g[i] * in[i] * scale;
        }
    }
}

static void layer_norm_forward(float *y, float *mean, float *inverse, const float *x, const float *gain,
                               const float *bias, ptrdiff_t rows, ptrdiff_t width, float epsilon) {
    for (ptrdiff_t r = 0; r < rows; r++) {
        const float *in = x + r * width;
        float *out = y + r * width;
        vec s = splat(0);
        ptrdiff_t i = 0;
        for (; i + EK_WIDTH <= width; i += EK_WIDTH) s += load(in + i);
        float total = sum_of(s);
        for (; i < width; i++) total += in[i];
        float m = total / (float)width;
        // Centred first: the difference of two squares would cancel where the mean is large.
        for (i = 0; i < width; i++) out[i] = in[i] - m;
        float scale = 1.0f / sqrtf(dot(out, out, width) / (float)width + epsilon);
        mean[r] = m;
        inverse[r] = scale;
        for (i = 0; i < width; i++) out[i] = out[i] * scale * (gain ? gain[i] : 1.0f) + (bias ? bias[i] : 0.0f);
    }
}

static void layer_norm_backward(float *dx, float *dgain, float *dbias, const float *dy, const float *x,
                                const float *gain, const float *mean, const float *inverse, ptrdiff_t rows,
                                ptrdiff_t width, int accumulate) {
    for (ptrdiff_t r = 0; r < rows; r++) {
        const float *in = x + r * width, *g = dy + r * width;
        float m = mean[r], scale = inverse[r];
        if (dx) {
            float *d = dx + r * width;
            vec plain = splat(0), centred = splat(0);
            ptrdiff_t i = 0;
            for (; i + EK_WIDTH <= width; i += EK_WIDTH) {
                vec value = gain ? load(g + i) * load(gain + i) : load(g + i);
                plain += value;
                centred += value * (load(in + i) - m);
            }
            float sum = sum_of(plain), inner = sum_of(centred);
            for (; i < width; i++) {
                float value = g[i] * (gain ? gain[i] : 1.0f);
                sum += value;
                inner += value * (in[i] - m);
            }
            float shift = sum * scale / (float)width, pull = inner * scale * scale * scale / (float)width;
            for (i = 0; i < width; i++) {
                float value = g[i] * (gain ? gain[i] : 1.0f) * scale - shift - (in[i] - m) * pull;
                d[i] = accumulate ? d[i] + value : value;
            }
        }
        if (dgain) {
            for (ptrdiff_t i = 0; i < width; i++) dgain[i] += g[i] * (in[i] - m) * scale;
        }
        if (dbias) {
            for (ptrdiff_t i = 0; i < width; i++) dbias[i] += g[i];
        }
    }
}

static float softmax_row(float *logits, ptrdiff_t vocabulary, float weight) {
    ptrdiff_t whole = vocabulary / EK_WIDTH * EK_WIDTH;
    vec top = splat(-INFINITY);
    for (ptrdiff_t i = 0; i < whole; i += EK_WIDTH) top = max_vec(top, load(logits + i));
    if (whole < vocabulary) top = max_vec(top, load_tail(logits + whole, vocabulary - whole, -INFINITY));
    float maximum = max_of(top);
    vec sum = splat(0);
    for (ptrdiff_t i = 0; i < whole; i += EK_WIDTH) {
        vec e = exp_vec(load(logits + i) - maximum);
        store(logits + i, e);
        sum += e;
    }
    if (whole < vocabulary) {
        vec e = exp_vec(load_tail(logits + whole, vocabulary - whole, -INFINITY) - maximum);
        store_tail(logits + whole, e, vocabulary - whole);
        sum += e;
    }
    float total = sum_of(sum);
    float scale = weight / total;
    for (ptrdiff_t i = 0; i < vocabulary; i++) logits[i] *= scale;
    return maximum + logf(total);
}
