/* The accumulators become the change of the parameters, which is added up over several inner steps. */

#include "metarl_internal.h"

#include <string.h>

metarl_status metarl_update(const metarl_robot *robot, float *total, uint32_t count, float step_size)
{
    const float scale = -step_size * robot->gate / (float)robot->recorded;
    uint32_t index;
    for (index = 0; index < count; index++) {
        total[index] *= scale;
    }
    return metarl_finite_all(total, count) ? METARL_OK : METARL_NOT_FINITE;
}

/* The gradient of a context phi is C^T g(b), with its matrix C [output][context] and the sum g(b) in total. */
void metarl_add_context_gradient(const float *total, uint32_t outputs, const float *matrix, float *gradient,
                                 uint32_t context)
{
    for (; outputs > 0; outputs--, matrix += context) {
        metarl_add_scaled(gradient, matrix, *total++, context);
    }
}

/* The gradient of phi becomes its change. What changes is the bias, by C times that. */
metarl_status metarl_update_streamed_context(const metarl_robot *robot, float *gradient, uint32_t context,
                                             const float *matrix, float *total, uint32_t outputs, float step_size)
{
    const metarl_status status = metarl_update(robot, gradient, context, step_size);
    uint32_t output;
    for (output = 0; output < outputs; output++) {
        total[output] = metarl_dot(matrix + output * context, gradient, context);
    }
    return status == METARL_OK && !metarl_finite_all(total, outputs) ? METARL_NOT_FINITE : status;
}

metarl_status metarl_update_context(const metarl_robot *robot, float *total, uint32_t outputs, const float *matrix,
                                    float *change, uint32_t context, float step_size)
{
    memset(change, 0, context * sizeof *change);
    metarl_add_context_gradient(total, outputs, matrix, change, context);
    return metarl_update_streamed_context(robot, change, context, matrix, total, outputs, step_size);
}

metarl_status metarl_store_change(const metarl_robot *robot, const float *change, uint32_t count, uint32_t offset)
{
    const metarl_storage *storage = robot->storage;
    return storage->write(storage->user, offset, change, 4u * count) == 0 ? METARL_OK : METARL_STORAGE;
}

metarl_status metarl_check_room(const int16_t *places, const int16_t *added, uint16_t channels, uint16_t capacity)
{
    uint16_t index, together = 0;
    for (index = 0; index < channels; index++) {
        together = (uint16_t)(together + (places[index] >= 0 || added[index] >= 0));
    }
    return together <= capacity ? METARL_OK : METARL_CAPACITY;
}

void metarl_merge(float *change, const float *added, uint32_t count) { metarl_add_scaled(change, added, 1.0f, count); }

void metarl_merge_rows(float *change, int16_t *places, const float *added, const int16_t *added_places,
                       uint16_t channels, uint16_t outputs)
{
    uint16_t index;
    int16_t opened = 0;
    for (index = 0; index < channels; index++) {
        opened = places[index] >= opened ? (int16_t)(places[index] + 1) : opened;
    }
    for (index = 0; index < channels; index++) {
        if (added_places[index] >= 0) {
            if (places[index] < 0) {
                places[index] = opened++;
            }
            metarl_merge(change + (uint32_t)places[index] * outputs, added + (uint32_t)added_places[index] * outputs,
                         outputs);
        }
    }
}
