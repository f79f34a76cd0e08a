/* Products with a pruned layer. Its kept weights stand input by input, each with the number of its output. */

#include "metarl_internal.h"

#include <string.h>

#define PART  256u /* outputs that a byte tells apart */
#define PIECE 16u  /* weights that the change is added to at a time */

/* Some kept weights of one input */
typedef struct {
    const metarl_layer *layer;
    metarl_change change;   /* in force; null pointers: none */
    const float *weight;    /* [count] */
    const uint8_t *output;  /* [count], each from the first output of the part on */
    const uint16_t *counts; /* of the parts that follow */
    uint32_t count, input, part;
    uint32_t left; /* weights of the part, from the first of these on */
    float changed[PIECE];
} kept_weights;

static void begin(kept_weights *at, const metarl_layer *layer)
{
    memset(at, 0, sizeof *at);
    at->layer = layer;
    at->output = layer->kept_outputs;
    at->counts = layer->kept_counts;
    at->weight = layer->weight;
    at->input = at->part = UINT32_MAX; /* before the first part of the first input */
}

/* Goes on to the next weights; returns whether there are any. */
static int next(kept_weights *at)
{
    at->weight += at->count;
    at->output += at->count;
    at->left -= at->count;
    while (at->left == 0) {
        if (at->part >= (at->layer->outputs - 1u) / PART) {
            at->input++;
            at->part = 0;
        } else {
            at->part++;
        }
        if (at->input >= at->layer->inputs) {
            return 0;
        }
        at->left = *at->counts++;
    }
    at->count = at->change.weight && at->left > PIECE ? PIECE : at->left;
    return 1;
}

/* The weights [count] with the change that is in force */
static const float *weights_of(kept_weights *at)
{
    const float *weight = at->weight, *change = at->change.weight;
    uint32_t index;
    if (change && at->layer->whole_inputs) {
        change = metarl_change_row(&at->change, at->input, at->layer->outputs);
        for (index = 0; change && index < at->count; index++) {
            at->changed[index] = weight[index] + change[at->part * PART + at->output[index]];
        }
    } else if (change) {
        change += weight - at->layer->weight;
        for (index = 0; index < at->count; index++) {
            at->changed[index] = weight[index] + change[index];
        }
    }
    return change ? at->changed : weight;
}

/* y += W x for four rows */
static void add_to_four(kept_weights *at, const float *x, float *y)
{
    const uint32_t inputs = at->layer->inputs, outputs = at->layer->outputs;
    while (next(at)) {
        const float *weight = weights_of(at), *const end = weight + at->count, *input = x + at->input;
        const float x0 = input[0], x1 = input[inputs], x2 = input[2 * inputs], x3 = input[3 * inputs];
        float *y0 = y + at->part * PART, *y1 = y0 + outputs, *y2 = y1 + outputs, *y3 = y2 + outputs;
        const uint8_t *output = at->output;
        while (weight < end) {
            const uint32_t place = *output++;
            const float factor = *weight++;
            y0[place] += factor * x0;
            y1[place] += factor * x1;
            y2[place] += factor * x2;
            y3[place] += factor * x3;
        }
    }
}

static void add_column(float *part, const float *weight, const uint8_t *output, uint32_t count, float input)
{
    for (; count > 0; count--) {
        part[*output++] += *weight++ * input;
    }
}

/* y += W x for one row */
static void add_to_one(kept_weights *at, const float *x, float *y)
{
    while (next(at)) {
        if (x[at->input] != 0.0f) {
            add_column(y + at->part * PART, weights_of(at), at->output, at->count, x[at->input]);
        }
    }
}

void metarl_pruned_forward(const metarl_robot *robot, const metarl_layer *layer, const float *x, float *y,
                           uint32_t rows)
{
    const metarl_change change = metarl_change_of(robot, layer);
    kept_weights at;
    uint32_t row, at_once;
    for (row = 0; row < rows; row++) {
        metarl_copy(y + row * layer->outputs, layer->bias, layer->outputs);
        if (change.bias) {
            metarl_add_scaled(y + row * layer->outputs, change.bias, 1.0f, layer->outputs);
        }
    }
    for (; rows > 0; rows -= at_once, x += at_once * layer->inputs, y += at_once * layer->outputs) {
        begin(&at, layer);
        at.change = change;
        at_once = rows >= 4 ? 4 : 1;
        if (at_once == 4) {
            add_to_four(&at, x, y);
        } else {
            add_to_one(&at, x, y);
        }
    }
}

/* g(x) += W^T g(y) for four rows */
static void back_from_four(kept_weights *at, const float *g, float *passed)
{
    const uint32_t inputs = at->layer->inputs, outputs = at->layer->outputs;
    while (next(at)) {
        const float *weight = weights_of(at), *const end = weight + at->count;
        const float *g0 = g + at->part * PART, *g1 = g0 + outputs, *g2 = g1 + outputs, *g3 = g2 + outputs;
        const uint8_t *output = at->output;
        float *input = passed + at->input, s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
        while (weight < end) {
            const uint32_t place = *output++;
            const float factor = *weight++;
            s0 += factor * g0[place];
            s1 += factor * g1[place];
            s2 += factor * g2[place];
            s3 += factor * g3[place];
        }
        input[0] += s0;
        input[inputs] += s1;
        input[2 * inputs] += s2;
        input[3 * inputs] += s3;
    }
}

/* g(x) += W^T g(y) for one row */
static void back_from_one(kept_weights *at, const float *g, float *passed)
{
    while (next(at)) {
        const float *weight = weights_of(at), *const end = weight + at->count, *part = g + at->part * PART;
        const uint8_t *output = at->output;
        float sum = 0.0f;
        while (weight < end) {
            sum += *weight++ * part[*output++];
        }
        passed[at->input] += sum;
    }
}

void metarl_pruned_backward(const metarl_robot *robot, const metarl_layer *layer, const float *g, float *passed,
                            uint32_t rows)
{
    kept_weights at;
    uint32_t at_once;
    memset(passed, 0, rows * layer->inputs * sizeof *passed);
    for (; rows > 0; rows -= at_once, g += at_once * layer->outputs, passed += at_once * layer->inputs) {
        begin(&at, layer);
        at.change = metarl_change_of(robot, layer);
        at_once = rows >= 4 ? 4 : 1;
        if (at_once == 4) {
            back_from_four(&at, g, passed);
        } else {
            back_from_one(&at, g, passed);
        }
    }
}

/* total [kept weight] += scores * sum over rows of input * gradient, of one input and up to four rows */
static void add_products(const kept_weights *at, const float *x, const float *g, uint32_t rows, const float *scores,
                         float *total)
{
    const uint32_t inputs = at->layer->inputs, outputs = at->layer->outputs;
    const float x0 = x[0], x1 = rows > 1 ? x[inputs] : 0.0f;
    const float x2 = rows > 2 ? x[2 * inputs] : 0.0f, x3 = rows > 3 ? x[3 * inputs] : 0.0f;
    const float *g1 = rows > 1 ? g + outputs : g, *g2 = rows > 2 ? g1 + outputs : g, *g3 = rows > 3 ? g2 + outputs : g;
    const uint8_t *output = at->output;
    float *const end = total + at->count;
    for (; total < end; total++) {
        const uint32_t place = *output++;
        const float sum = x0 * g[place] + x1 * g1[place] + x2 * g2[place] + x3 * g3[place];
        *total += scores ? scores[place] * sum : sum;
    }
}

void metarl_add_masked_gradient(const metarl_robot *robot, const metarl_layer *layer, const float *inputs,
                                const float *gradient, const float *scores, float *total, uint16_t first,
                                uint16_t count)
{
    kept_weights at;
    uint32_t row;
    begin(&at, layer);
    while (next(&at)) {
        if (at.input < first || at.input >= (uint32_t)first + count) {
            continue;
        }
        for (row = 0; row < robot->rows; row += 4) {
            const float *outputs = gradient + row * layer->outputs + at.part * PART;
            add_products(&at, inputs + row * layer->inputs + at.input, outputs, robot->rows - row,
                         scores ? scores + at.part * PART : 0, total);
        }
        total += at.count;
    }
}
