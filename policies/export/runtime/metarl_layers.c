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

/* y = W x + b for four rows x, in blocks of four outputs whose sums stay in registers */
static void forward_four(const metarl_layer *layer, const float *x, float *y)
{
    const uint32_t inputs = layer->inputs, outputs = layer->outputs;
    const float *weight = layer->weight;
    uint32_t output, row, count;
    for (output = 0; output + 4 <= outputs; output += 4, weight += 4 * inputs) {
        const float *x0 = x, *x1 = x0 + inputs, *x2 = x1 + inputs, *x3 = x2 + inputs;
        const float *w0 = weight, *w1 = w0 + inputs, *w2 = w1 + inputs, *w3 = w2 + inputs;
        const float *bias = layer->bias + output;
        float s00 = bias[0], s01 = bias[1], s02 = bias[2], s03 = bias[3];
        float s10 = s00, s11 = s01, s12 = s02, s13 = s03, s20 = s00, s21 = s01, s22 = s02, s23 = s03;
        float s30 = s00, s31 = s01, s32 = s02, s33 = s03;
        float *y0 = y + output, *y1 = y0 + outputs, *y2 = y1 + outputs, *y3 = y2 + outputs;
        for (count = inputs; count > 0; count--) {
            const float a0 = *x0++, a1 = *x1++, a2 = *x2++, a3 = *x3++;
            const float b0 = *w0++, b1 = *w1++, b2 = *w2++, b3 = *w3++;
            s00 += a0 * b0, s01 += a0 * b1, s02 += a0 * b2, s03 += a0 * b3;
            s10 += a1 * b0, s11 += a1 * b1, s12 += a1 * b2, s13 += a1 * b3;
            s20 += a2 * b0, s21 += a2 * b1, s22 += a2 * b2, s23 += a2 * b3;
            s30 += a3 * b0, s31 += a3 * b1, s32 += a3 * b2, s33 += a3 * b3;
        }
        y0[0] = s00, y0[1] = s01, y0[2] = s02, y0[3] = s03;
        y1[0] = s10, y1[1] = s11, y1[2] = s12, y1[3] = s13;
        y2[0] = s20, y2[1] = s21, y2[2] = s22, y2[3] = s23;
        y3[0] = s30, y3[1] = s31, y3[2] = s32, y3[3] = s33;
    }
    for (; output < outputs; output++, weight += inputs) {
        for (row = 0; row < 4; row++) {
            y[row * outputs + output] = layer->bias[output] + metarl_dot(weight, x + row * inputs, inputs);
        }
    }
}

/* g(x) = W^T g(y) for four rows g(y), in blocks of four inputs */
static void backward_four(const metarl_layer *layer, const float *g, float *passed)
{
    const uint32_t inputs = layer->inputs, outputs = layer->outputs;
    uint32_t input, row, count;
    for (input = 0; input + 4 <= inputs; input += 4) {
        const float *g0 = g, *g1 = g0 + outputs, *g2 = g1 + outputs, *g3 = g2 + outputs;
        const float *weight = layer->weight + input;
        float s00 = 0.0f, s01 = 0.0f, s02 = 0.0f, s03 = 0.0f, s10 = 0.0f, s11 = 0.0f, s12 = 0.0f, s13 = 0.0f;
        float s20 = 0.0f, s21 = 0.0f, s22 = 0.0f, s23 = 0.0f, s30 = 0.0f, s31 = 0.0f, s32 = 0.0f, s33 = 0.0f;
        float *p0 = passed + input, *p1 = p0 + inputs, *p2 = p1 + inputs, *p3 = p2 + inputs;
        for (count = outputs; count > 0; count--, weight += inputs) {
            const float a0 = *g0++, a1 = *g1++, a2 = *g2++, a3 = *g3++;
            const float b0 = weight[0], b1 = weight[1], b2 = weight[2], b3 = weight[3];
            s00 += a0 * b0, s01 += a0 * b1, s02 += a0 * b2, s03 += a0 * b3;
            s10 += a1 * b0, s11 += a1 * b1, s12 += a1 * b2, s13 += a1 * b3;
            s20 += a2 * b0, s21 += a2 * b1, s22 += a2 * b2, s23 += a2 * b3;
            s30 += a3 * b0, s31 += a3 * b1, s32 += a3 * b2, s33 += a3 * b3;
        }
        p0[0] = s00, p0[1] = s01, p0[2] = s02, p0[3] = s03;
        p1[0] = s10, p1[1] = s11, p1[2] = s12, p1[3] = s13;
        p2[0] = s20, p2[1] = s21, p2[2] = s22, p2[3] = s23;
        p3[0] = s30, p3[1] = s31, p3[2] = s32, p3[3] = s33;
    }
    for (; input < inputs; input++) {
        for (row = 0; row < 4; row++) {
            float sum = 0.0f;
            for (count = 0; count < outputs; count++) {
                sum += g[row * outputs + count] * layer->weight[count * inputs + input];
            }
            passed[row * inputs + input] = sum;
        }
    }
}

/* y [rows][output] of x [rows][input] in other memory, with the change that is in force */
void metarl_forward_rows(const metarl_robot *robot, const metarl_layer *layer, const float *x, float *y, uint32_t rows)
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
            y[row * outputs + index] = layer->bias[index] + metarl_dot(layer->weight + index * inputs, x + row * inputs, inputs);
        }
        row++;
    }
    for (row = 0; change.weight && row < rows; row++, x += inputs, y += outputs) {
        metarl_add_scaled(y, change.bias, 1.0f, outputs);
        for (index = 0; index < inputs; index++) {
            const float *changed = x[index] != 0.0f ? metarl_change_row(&change, index, outputs) : 0;
            if (changed) {
                metarl_add_scaled(y, changed, x[index], outputs);
            }
        }
    }
}

/* g(x) [rows][input] of g(y) [rows][output] in other memory */
void metarl_backward_rows(const metarl_robot *robot, const metarl_layer *layer, const float *g, float *passed,
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
