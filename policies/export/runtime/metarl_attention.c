/* Attention: the scores of the channels, and the channels that are kept. */

#include "metarl_internal.h"

#include <math.h>

/* Of the smallest share kept: what reaches it is kept, too, by modules with bounded logits. */
#define METARL_NEARLY 0.9f

void metarl_add_rows(const metarl_robot *robot, const float *tensor, float *total, uint16_t width)
{
    uint32_t row;
    for (row = 0; row < robot->rows; row++, tensor += width) {
        metarl_add_scaled(total, tensor, 1.0f, width);
    }
}

void metarl_keep(const metarl_robot *robot, const float *inputs, const float *scores, float *kept, uint16_t width,
                 uint16_t first, uint16_t count)
{
    uint32_t row, index;
    for (row = 0; row < robot->rows; row++, inputs += width) {
        for (index = first; index < (uint32_t)first + count; index++) {
            if (scores[index] != 0.0f) {
                *kept++ = inputs[index] * scores[index];
            }
        }
    }
}

/* Zeroes the smallest shares up to and including the first at which their sum reaches clip, never the largest; those
of at least nearly times the smallest one kept stay (p-Meta, Algorithm 1). */
static void drop_smallest(float *shares, uint32_t channels, float clip, float nearly, float *ordered)
{
    float total = 0.0f;
    uint32_t index, place, dropped = 0;
    for (index = 0; index < channels; index++) {
        for (place = index; place > 0 && ordered[place - 1] > shares[index]; place--) {
            ordered[place] = ordered[place - 1];
        }
        ordered[place] = shares[index];
    }
    while (total < clip && dropped + 1u < channels) {
        total += ordered[dropped++];
    }
    for (index = 0; index < channels; index++) {
        if (shares[index] < nearly * ordered[dropped]) {
            shares[index] = 0.0f;
        }
    }
}

void metarl_score(const metarl_robot *robot, const metarl_module *module, float *summary, float clip, float *hidden)
{
    const uint32_t channels = module->channels, units = module->units;
    float largest, sum = 0.0f;
    uint32_t index;
    for (index = 0; index < channels; index++) {
        summary[index] /= (float)robot->steps;
    }
    for (index = 0; index < units; index++) {
        hidden[index] =
            module->hidden_bias[index] + metarl_dot(module->hidden_weight + index * channels, summary, channels);
        hidden[index] = hidden[index] > 0.0f ? hidden[index] : 0.0f;
    }
    for (index = 0; index < channels; index++) {
        summary[index] = module->bias[index] + metarl_dot(module->weight + index * units, hidden, units);
    }
    for (index = 0; index < channels && module->bound > 0.0f; index++) {
        summary[index] *= module->bound / (module->bound + fabsf(summary[index]));
    }
    largest = summary[0];
    for (index = 1; index < channels; index++) {
        largest = summary[index] > largest ? summary[index] : largest;
    }
    for (index = 0; index < channels; index++) {
        summary[index] = expf(summary[index] - largest);
        sum += summary[index];
    }
    for (index = 0; index < channels; index++) {
        summary[index] /= sum;
    }
    if (clip > 0.0f) {
        drop_smallest(summary, channels, clip, module->bound > 0.0f ? METARL_NEARLY : 1.0f, hidden);
    }
    for (index = 0, sum = 0.0f; index < channels; index++) {
        sum += summary[index];
    }
    for (index = 0; index < channels; index++) {
        summary[index] *= (float)channels / sum;
    }
}

metarl_status metarl_open_channels(const float *scores, int16_t *places, uint16_t channels, uint16_t capacity)
{
    uint16_t index;
    int16_t opened = 0;
    for (index = 0; index < channels; index++) {
        opened = places[index] >= opened ? (int16_t)(places[index] + 1) : opened;
    }
    for (index = 0; index < channels; index++) {
        if (scores[index] != 0.0f && places[index] < 0) {
            if ((uint16_t)opened == capacity) {
                return METARL_CAPACITY;
            }
            places[index] = opened++;
        }
    }
    return METARL_OK;
}
