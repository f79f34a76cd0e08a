/* The kernels of the forward and the backward pass. */

#include "metarl_internal.h"

void metarl_inverse_deviations(const metarl_robot *robot, float *inverse_std)
{
    uint16_t action;
    for (action = 0; action < robot->controller->actions; action++) {
        inverse_std[action] = 1.0f / metarl_deviation_of(robot, action);
    }
}

metarl_status metarl_load(const metarl_robot *robot, float *inputs)
{
    metarl_status status = METARL_OK;
    uint32_t row;
    for (row = 0; row < robot->rows && status == METARL_OK; row++) {
        status = metarl_read_observation(robot, robot->row + robot->start + row, (unsigned char *)inputs);
        inputs += robot->controller->observations;
    }
    return status;
}

void metarl_linear(const metarl_robot *robot, const metarl_layer *layer, const float *inputs, float *output)
{
    layer->forward(robot, layer, inputs, output, robot->rows);
}

void metarl_input_gradient(const metarl_robot *robot, const metarl_layer *layer, const float *gradient, float *passed)
{
    layer->backward(robot, layer, gradient, passed, robot->rows);
}

/* Computes a product in the memory of its factor, for as many rows at a time as there are words of working memory. It
begins with the last rows where rows get longer, so that none is overwritten before it was read. */
static void in_place(const metarl_robot *robot, const metarl_layer *layer, const float *factor, float *product,
                     float *row, uint32_t words, int backward)
{
    const metarl_product multiply = backward ? layer->backward : layer->forward;
    const uint32_t before = backward ? layer->outputs : layer->inputs;
    const uint32_t after = backward ? layer->inputs : layer->outputs;
    const uint32_t at_once = words / after, blocks = (robot->rows + at_once - 1u) / at_once;
    uint32_t block;
    for (block = 0; block < blocks; block++) {
        const uint32_t first = (after > before ? blocks - 1u - block : block) * at_once;
        const uint32_t rows = robot->rows - first < at_once ? robot->rows - first : at_once;
        multiply(robot, layer, factor + first * before, row, rows);
        metarl_copy(product + first * after, row, rows * after);
    }
}

void metarl_linear_in_place(const metarl_robot *robot, const metarl_layer *layer, const float *inputs, float *output,
                            float *row, uint32_t words)
{
    in_place(robot, layer, inputs, output, row, words, 0);
}

void metarl_input_gradient_in_place(const metarl_robot *robot, const metarl_layer *layer, const float *gradient,
                                    float *passed, float *row, uint32_t words)
{
    in_place(robot, layer, gradient, passed, row, words, 1);
}

void metarl_rectify(const metarl_robot *robot, float *output, uint8_t *bits, uint16_t width)
{
    uint32_t count = (uint32_t)robot->rows * width, byte = 0, bit = 1;
    for (; count > 0; count--, output++) {
        if (!(*output > 0.0f)) {
            *output = 0.0f;
            byte |= bit;
        }
        bit <<= 1;
        if (bits && (bit > 0x80u || count == 1)) {
            *bits++ = (uint8_t)byte;
            byte = 0;
            bit = 1;
        }
    }
}

void metarl_squash(const metarl_robot *robot, float *output, uint16_t width)
{
    metarl_tanh(output, (uint32_t)robot->rows * width);
}

/* Passes the gradient through a layer and the tanh before it, in the memory of what the tanh gave. */
void metarl_input_gradient_tanh(const metarl_robot *robot, const metarl_layer *layer, const float *gradient,
                                float *passed, float *row, uint32_t words)
{
    const uint32_t at_once = words / layer->inputs;
    uint32_t first, index;
    for (first = 0; first < robot->rows; first += at_once) {
        const uint32_t rows = robot->rows - first < at_once ? robot->rows - first : at_once;
        layer->backward(robot, layer, gradient + first * layer->outputs, row, rows);
        for (index = 0; index < rows * layer->inputs; index++, passed++) {
            *passed = row[index] * (1.0f - *passed * *passed);
        }
    }
}

void metarl_block(const metarl_robot *robot, float *gradient, const uint8_t *bits, uint16_t width)
{
    uint32_t count = (uint32_t)robot->rows * width, byte = 0, bit = 0;
    for (; count > 0; count--, gradient++, bit >>= 1, byte >>= 1) {
        if (bit == 0) {
            byte = *bits++;
            bit = 0x80u;
        }
        if (byte & 1u) {
            *gradient = 0.0f;
        }
    }
}

metarl_status metarl_standardize(const metarl_robot *robot, float *mean, const float *inverse_std)
{
    const metarl_controller *controller = robot->controller;
    const uint32_t place = metarl_observation_bytes(controller);
    metarl_status status = METARL_OK;
    uint32_t recorded, end = robot->row + robot->start + robot->rows;
    uint16_t action;
    for (recorded = robot->row + robot->start; recorded < end; recorded++, mean += controller->actions) {
        for (action = 0; action < controller->actions && status == METARL_OK; action++) {
            if (metarl_is_packed(controller)) {
                mean[action] = -metarl_noise(robot->seed, metarl_noise_step(robot, recorded), action);
            } else {
                float taken = 0.0f;
                status = metarl_read_row(robot, recorded, place + 4u * action, &taken, sizeof taken);
                mean[action] = (mean[action] - taken) * inverse_std[action];
            }
        }
    }
    return status;
}

void metarl_add_log_std_gradient(const metarl_robot *robot, const float *standardized, const float *advantages,
                                 float *total)
{
    const uint16_t actions = robot->controller->actions;
    uint32_t row;
    uint16_t action;
    for (row = 0; row < robot->rows; row++, standardized += actions) {
        for (action = 0; action < actions; action++) {
            const float squared = standardized[action] * standardized[action];
            total[action] += (1.0f - squared) * (advantages ? advantages[robot->start + row] : 1.0f);
        }
    }
}

void metarl_output_gradient(const metarl_robot *robot, float *standardized, const float *inverse_std,
                            const float *advantages)
{
    const uint16_t actions = robot->controller->actions;
    uint32_t row;
    uint16_t action;
    for (row = 0; row < robot->rows; row++, standardized += actions) {
        for (action = 0; action < actions; action++) {
            standardized[action] *= inverse_std[action] * (advantages ? advantages[robot->start + row] : 1.0f);
        }
    }
}
