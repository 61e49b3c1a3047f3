#include "include/low_bit.h"

#include <math.h>

const float ek_nf4_levels[16] = {
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f,
    -0.18477343022823334f, -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f,
    0.24611230194568634f, 0.33791524171829224f, 0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f,
    1.0f,
};

static float largest(const float *x, ptrdiff_t count) {
    float value = 0;
    for (ptrdiff_t i = 0; i < count; i++) {
        float magnitude = fabsf(x[i]);
        if (magnitude > value) value = magnitude;
    }
    return value;
}

static uint8_t nearest_level(float x) {
    uint8_t low = 0;
    // The number of midpoints between neighbouring levels that lie below x.
    for (int level = 0; level < 15; level++) low += x > 0.5f * (ek_nf4_levels[level] + ek_nf4_levels[level + 1]);
    return low;
}

void ek_encode_nf4(const float *x, ptrdiff_t count, uint8_t *packed, float *scales) {
    for (ptrdiff_t start = 0; start < count; start += EK_NF4_BLOCK) {
        ptrdiff_t size = count - start < EK_NF4_BLOCK ? count - start : EK_NF4_BLOCK;
        float scale = largest(x + start, size);
        scales[start / EK_NF4_BLOCK] = scale;
        for (ptrdiff_t i = start; i < start + size; i += 2) {
            uint8_t high = scale > 0 ? nearest_level(x[i] / scale) : 7;
            uint8_t low = scale > 0 && i + 1 < start + size ? nearest_level(x[i + 1] / scale) : 7;
            packed[i / 2] = (uint8_t)(high << 4 | low);
        }
    }
}

static inline float level(const uint8_t *packed, ptrdiff_t index) {
    uint8_t pair = packed[index / 2];
    return ek_nf4_levels[index % 2 ? pair & 15 : pair >> 4];
}

void ek_decode_nf4(const uint8_t *packed, const float *scales, ptrdiff_t first, ptrdiff_t count, float *out) {
    ptrdiff_t index = first, end = first + count, origin = first / EK_NF4_BLOCK;
    while (index < end) {
        ptrdiff_t block = index / EK_NF4_BLOCK;
        ptrdiff_t stop = (block + 1) * EK_NF4_BLOCK < end ? (block + 1) * EK_NF4_BLOCK : end;
        float scale = scales[block - origin];
        if (index % 2) *out++ = scale * level(packed, index), index++;
        for (; index + 1 < stop; index += 2, out += 2) {
            uint8_t pair = packed[index / 2];
            out[0] = scale * ek_nf4_levels[pair >> 4];
            out[1] = scale * ek_nf4_levels[pair & 15];
        }
        if (index < stop) *out++ = scale * level(packed, index), index++;
    }
}

float ek_encode_int8(const float *x, ptrdiff_t count, int8_t *out) {
    float scale = largest(x, count) / 127;
    for (ptrdiff_t i = 0; i < count; i++) {
        float value = scale > 0 ? rintf(x[i] / scale) : 0;
        out[i] = (int8_t)(value > 127 ? 127 : value < -127 ? -127 : value);
    }
    return scale;
}

void ek_decode_int8(const int8_t *x, float scale, ptrdiff_t count, float *out) {
    for (ptrdiff_t i = 0; i < count; i++) out[i] = scale * (float)x[i];
}
