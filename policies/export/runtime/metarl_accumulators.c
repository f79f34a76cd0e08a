/* The gradients of the parameters, added up over all time steps. */

#include "metarl_internal.h"

void metarl_add_bias_gradient(const metarl_robot *robot, const float *gradient, const float *scores, float *total,
                              uint16_t outputs)
{
    uint32_t row;
    uint16_t output;
    for (row = 0; row < robot->rows; row++, gradient += outputs) {
        for (output = 0; output < outputs; output++) {
            total[output] += scores ? scores[output] * gradient[output] : gradient[output];
        }
    }
}

/* total [output] += scores * sum over rows of input * gradient [row][output]; the input is every stride-th number */
static void add_products(float *total, const float *input, uint32_t stride, const float *gradient, uint32_t rows,
                         const float *scores, uint32_t outputs)
{
    uint32_t output;
    for (; rows >= 4; rows -= 4, input += 4 * stride, gradient += 4 * outputs) {
        const float *g0 = gradient, *g1 = g0 + outputs, *g2 = g1 + outputs, *g3 = g2 + outputs;
        const float x0 = input[0], x1 = input[stride], x2 = input[2 * stride], x3 = input[3 * stride];
        for (output = 0; output < outputs; output++) {
            const float sum = x0 * *g0++ + x1 * *g1++ + x2 * *g2++ + x3 * *g3++;
            total[output] += scores ? scores[output] * sum : sum;
        }
    }
    for (; rows > 0; rows--, input += stride, gradient += outputs) {
        for (output = 0; output < outputs; output++) {
            const float product = *input * gradient[output];
            total[output] += scores ? scores[output] * product : product;
        }
    }
}

void metarl_add_weight_gradient(const metarl_robot *robot, const float *inputs, const float *gradient,
                                const float *scores, float *total, uint16_t width, uint16_t outputs, uint16_t first,
                                uint16_t count)
{
    const float *input = inputs + first;
    for (; count > 0; count--, total += outputs) {
        add_products(total, input++, width, gradient, robot->rows, scores, outputs);
    }
}

void metarl_add_kept_gradient(const metarl_robot *robot, const float *kept, const float *gradient,
                              const float *kept_scores, const float *scores, const int16_t *places, float *total,
                              uint16_t outputs, uint16_t first, uint16_t count)
{
    const uint32_t end = (uint32_t)first + count;
    uint32_t index, stride = 0;
    for (index = first; index < end; index++) {
        stride += kept_scores[index] != 0.0f;
    }
    for (index = first; index < end; index++) {
        if (kept_scores[index] != 0.0f) {
            const uint32_t place = places ? (uint32_t)places[index] : index - first;
            add_products(total + place * outputs, kept++, stride, gradient, robot->rows, scores, outputs);
        }
    }
}
