/* Products of a few time steps with a fully-connected layer, forward and backward. */

#include "metarl_internal.h"

#include <math.h>
#include <string.h>

int metarl_finite_all(const float *values, uint32_t count)
{
    for (; count > 0; count--, values++) {
        if (!isfinite(*values)) {
            return 0;
        }
    }
    return 1;
}

float metarl_dot(const float *a, const float *b, uint32_t count)
{
    float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
    for (; count >= 4; count -= 4, a += 4, b += 4) {
        s0 += a[0] * b[0];
        s1 += a[1] * b[1];
        s2 += a[2] * b[2];
        s3 += a[3] * b[3];
    }
    for (; count > 0; count--) {
        s0 += *a++ * *b++;
    }
    return (s0 + s1) + (s2 + s3);
}

/* target += factor * row */
void metarl_add_scaled(float *target, const float *row, float factor, uint32_t count)
{
    for (; count >= 4; count -= 4, target += 4, row += 4) {
        target[0] += factor * row[0];
        target[1] += factor * row[1];
        target[2] += factor * row[2];
        target[3] += factor * row[3];
    }
    for (; count > 0; count--) {
        *target++ += factor * *row++;
    }
}

/* Copies floats; the memcpy of a small C library copies byte by byte. */
void metarl_copy(float *target, const float *source, uint32_t count)
{
    for (; count >= 4; count -= 4, target += 4, source += 4) {
        const float a = source[0], b = source[1], c = source[2], d = source[3];
        target[0] = a, target[1] = b, target[2] = c, target[3] = d;
    }
    for (; count > 0; count--) {
        *target++ = *source++;
    }
}

/* Adds to sums [row][column] the products of four rows with four columns, [row][step] and [column][step], over all
steps. This and the next function are apart from their callers so that the sums stay in registers. */
void metarl_add_tile(float *sums, const float *rows, const float *columns, uint32_t steps)
{
    const float *a0 = rows, *a1 = a0 + steps, *a2 = a1 + steps, *a3 = a2 + steps;
    const float *b0 = columns, *b1 = b0 + steps, *b2 = b1 + steps, *b3 = b2 + steps;
    float s00 = sums[0], s01 = sums[1], s02 = sums[2], s03 = sums[3];
    float s10 = sums[4], s11 = sums[5], s12 = sums[6], s13 = sums[7];
    float s20 = sums[8], s21 = sums[9], s22 = sums[10], s23 = sums[11];
    float s30 = sums[12], s31 = sums[13], s32 = sums[14], s33 = sums[15];
    for (; steps > 0; steps--) {
        const float r0 = *a0++, r1 = *a1++, r2 = *a2++, r3 = *a3++;
        const float c0 = *b0++, c1 = *b1++, c2 = *b2++, c3 = *b3++;
        s00 += r0 * c0, s01 += r0 * c1, s02 += r0 * c2, s03 += r0 * c3;
        s10 += r1 * c0, s11 += r1 * c1, s12 += r1 * c2, s13 += r1 * c3;
        s20 += r2 * c0, s21 += r2 * c1, s22 += r2 * c2, s23 += r2 * c3;
        s30 += r3 * c0, s31 += r3 * c1, s32 += r3 * c2, s33 += r3 * c3;
    }
    sums[0] = s00, sums[1] = s01, sums[2] = s02, sums[3] = s03;
    sums[4] = s10, sums[5] = s11, sums[6] = s12, sums[7] = s13;
    sums[8] = s20, sums[9] = s21, sums[10] = s22, sums[11] = s23;
    sums[12] = s30, sums[13] = s31, sums[14] = s32, sums[15] = s33;
}

/* The same for columns [step][column] of a matrix that has more of them. */
void metarl_add_tile_across(float *sums, const float *rows, const float *columns, uint32_t steps, uint32_t width)
{
    const float *a0 = rows, *a1 = a0 + steps, *a2 = a1 + steps, *a3 = a2 + steps;
    float s00 = sums[0], s01 = sums[1], s02 = sums[2], s03 = sums[3];
    float s10 = sums[4], s11 = sums[5], s12 = sums[6], s13 = sums[7];
    float s20 = sums[8], s21 = sums[9], s22 = sums[10], s23 = sums[11];
    float s30 = sums[12], s31 = sums[13], s32 = sums[14], s33 = sums[15];
    for (; steps > 0; steps--, columns += width) {
        const float r0 = *a0++, r1 = *a1++, r2 = *a2++, r3 = *a3++;
        const float c0 = columns[0], c1 = columns[1], c2 = columns[2], c3 = columns[3];
        s00 += r0 * c0, s01 += r0 * c1, s02 += r0 * c2, s03 += r0 * c3;
        s10 += r1 * c0, s11 += r1 * c1, s12 += r1 * c2, s13 += r1 * c3;
        s20 += r2 * c0, s21 += r2 * c1, s22 += r2 * c2, s23 += r2 * c3;
        s30 += r3 * c0, s31 += r3 * c1, s32 += r3 * c2, s33 += r3 * c3;
    }
    sums[0] = s00, sums[1] = s01, sums[2] = s02, sums[3] = s03;
    sums[4] = s10, sums[5] = s11, sums[6] = s12, sums[7] = s13;
    sums[8] = s20, sums[9] = s21, sums[10] = s22, sums[11] = s23;
    sums[12] = s30, sums[13] = s31, sums[14] = s32, sums[15] = s33;
}

/* y = W x + b for four rows x */
static void forward_four(const metarl_layer *layer, const float *x, float *y)
{
    const uint32_t inputs = layer->inputs, outputs = layer->outputs;
    const float *weight = layer->weight, *bias = layer->bias;
    float sums[16];
    uint32_t output, row;
    for (output = 0; output + 4 <= outputs; output += 4, weight += 4 * inputs, bias += 4) {
        for (row = 0; row < 4; row++) {
            metarl_copy(sums + 4 * row, bias, 4);
        }
        metarl_add_tile(sums, x, weight, inputs);
        for (row = 0; row < 4; row++) {
            metarl_copy(y + row * outputs + output, sums + 4 * row, 4);
        }
    }
    for (; output < outputs; output++, weight += inputs, bias++) {
        for (row = 0; row < 4; row++) {
            y[row * outputs + output] = *bias + metarl_dot(weight, x + row * inputs, inputs);
        }
    }
}

/* g(x) = W^T g(y) for four rows g(y) */
static void backward_four(const metarl_layer *layer, const float *g, float *passed)
{
    const uint32_t inputs = layer->inputs, outputs = layer->outputs;
    float sums[16];
    uint32_t input, row, output;
    for (input = 0; input + 4 <= inputs; input += 4) {
        memset(sums, 0, sizeof sums);
        metarl_add_tile_across(sums, g, layer->weight + input, outputs, inputs);
        for (row = 0; row < 4; row++) {
            metarl_copy(passed + row * inputs + input, sums + 4 * row, 4);
        }
    }
    for (; input < inputs; input++) {
        for (row = 0; row < 4; row++) {
            float sum = 0.0f;
            for (output = 0; output < outputs; output++) {
                sum += g[row * outputs + output] * layer->weight[output * inputs + input];
            }
            passed[row * inputs + input] = sum;
        }
    }
}

void metarl_dense_forward(const metarl_robot *robot, const metarl_layer *layer, const float *x, float *y,
                          uint32_t rows)
{
    const metarl_change change = metarl_change_of(robot, layer);
    const uint32_t inputs = layer->inputs, outputs = layer->outputs;
    uint32_t row, index;
    for (row = 0; row < rows;) {
        if (rows - row >= 4) {
            forward_four(layer, x + row * inputs, y + row * outputs);
            row += 4;
            continue;
        }
        for (index = 0; index < outputs; index++) {
            y[row * outputs + index] =
                layer->bias[index] + metarl_dot(layer->weight + index * inputs, x + row * inputs, inputs);
        }
        row++;
    }
    for (row = 0; change.bias && row < rows; row++, x += inputs, y += outputs) {
        metarl_add_scaled(y, change.bias, 1.0f, outputs);
        for (index = 0; change.weight && index < inputs; index++) {
            const float *changed = x[index] != 0.0f ? metarl_change_row(&change, index, outputs) : 0;
            if (changed) {
                metarl_add_scaled(y, changed, x[index], outputs);
            }
        }
    }
}

void metarl_dense_backward(const metarl_robot *robot, const metarl_layer *layer, const float *g, float *passed,
                           uint32_t rows)
{
    const metarl_change change = metarl_change_of(robot, layer);
    const uint32_t inputs = layer->inputs, outputs = layer->outputs;
    uint32_t row, index;
    for (row = 0; row < rows;) {
        if (rows - row >= 4) {
            backward_four(layer, g + row * outputs, passed + row * inputs);
            row += 4;
            continue;
        }
        memset(passed + row * inputs, 0, inputs * sizeof *passed);
        for (index = 0; index < outputs; index++) {
            metarl_add_scaled(passed + row * inputs, layer->weight + index * inputs, g[row * outputs + index], inputs);
        }
        row++;
    }
    for (row = 0; change.weight && row < rows; row++, g += outputs, passed += inputs) {
        for (index = 0; index < inputs; index++) {
            const float *changed = metarl_change_row(&change, index, outputs);
            if (changed) {
                passed[index] += metarl_dot(changed, g, outputs);
            }
        }
    }
}
