/* The policy in force: its noise, its mean action, and what the actuators receive. */

#include "metarl_internal.h"

#include <math.h>

#define TWO_PI 6.28318531f
#define LIMIT  10.0f /* of normalized observations, which are clipped */

/* The exploration noise: normal numbers that depend on nothing but their place, so that they need not be recorded */

/* Mixes the bits of a number (C. Wellons, "lowbias32"). */
static uint32_t mixed(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ (x >> 16);
}

static float uniform(uint32_t bits) { return ((float)(bits >> 8) + 0.5f) * (1.0f / 16777216.0f); }

float metarl_noise(uint32_t seed, uint32_t step, uint16_t action)
{
    const uint32_t key = mixed(mixed(seed + 0x9e3779b9u) ^ step) + 2u * action;
    const float radius = sqrtf(-2.0f * logf(uniform(mixed(key)))), angle = TWO_PI * uniform(mixed(key + 1u));
    return radius * cosf(angle);
}

/* The step that a row's noise is drawn for: another one in every inner step. */
uint32_t metarl_noise_step(const metarl_robot *robot, uint32_t row)
{
    const metarl_controller *controller = robot->controller;
    return robot->taken * controller->horizon * controller->episodes + row;
}

float metarl_deviation_of(const metarl_robot *robot, uint16_t action)
{
    const float *change = metarl_change_at(robot, robot->controller->log_std_change);
    return expf(robot->controller->log_std[action] + (change ? change[action] : 0.0f));
}

void metarl_normalize(const metarl_controller *controller, const float *observation, float *normalized)
{
    const float *mean = controller->observation_mean, *std = controller->observation_std;
    uint16_t index;
    for (index = 0; index < controller->observations; index++) {
        const float value = mean ? (observation[index] - mean[index]) / std[index] : observation[index];
        normalized[index] = !mean ? value : value < -LIMIT ? -LIMIT : value > LIMIT ? LIMIT : value;
    }
}

void metarl_relu(float *values, uint32_t count)
{
    for (; count > 0; count--, values++) {
        *values = *values > 0.0f ? *values : 0.0f;
    }
}

void metarl_tanh(float *values, uint32_t count)
{
    for (; count > 0; count--, values++) {
        *values = tanhf(*values);
    }
}

/* The mean action for an observation in the first of two rows of working memory; it lies in one of them. */
float *metarl_mean_action(const metarl_robot *robot, float *rows, uint32_t width)
{
    const metarl_controller *controller = robot->controller;
    float *input = rows, *output = rows + width, *exchanged;
    uint32_t layer;
    for (layer = 0; layer < controller->layers; layer++) {
        controller->layer[layer].forward(robot, &controller->layer[layer], input, output, 1);
        if (layer + 1u < controller->layers) {
            controller->layer[layer].activation(output, controller->layer[layer].outputs);
        }
        exchanged = input, input = output, output = exchanged;
    }
    return input;
}

uint32_t metarl_widest(const metarl_controller *controller)
{
    uint32_t width = controller->observations, layer;
    for (layer = 0; layer < controller->layers; layer++) {
        width = controller->layer[layer].outputs > width ? controller->layer[layer].outputs : width;
    }
    return width;
}

/* What the actuators receive for the policy's own action. */
void metarl_execute(const metarl_controller *controller, const float *policy_action, float *action)
{
    uint16_t index;
    for (index = 0; index < controller->actions; index++) {
        const float low = controller->action_low[index], high = controller->action_high[index];
        const float value = policy_action[index] * controller->action_scale;
        action[index] = value < low ? low : value > high ? high : value;
    }
}
