/* Where things lie: in the robot and in the storage. */

#include "metarl_internal.h"

#include <string.h>

unsigned char *metarl_bytes_at(metarl_robot *robot, uint32_t offset) { return (unsigned char *)robot + offset; }

double *metarl_doubles_at(metarl_robot *robot, uint32_t offset)
{
    return (double *)(void *)metarl_bytes_at(robot, offset);
}

uint32_t *metarl_lengths_of(metarl_robot *robot)
{
    return (uint32_t *)(void *)metarl_bytes_at(robot, robot->controller->lengths);
}

/* Where changes begin: in the robot, or in the storage. */
const unsigned char *metarl_changes_of(const metarl_robot *robot)
{
    return robot->controller->stores_change ? (const unsigned char *)robot->storage->memory
                                            : (const unsigned char *)robot;
}

const float *metarl_change_at(const metarl_robot *robot, uint32_t offset)
{
    if (robot->taken == 0 || offset == METARL_NONE) {
        return 0;
    }
    return (const float *)(const void *)(metarl_changes_of(robot) + offset);
}

metarl_change metarl_change_of(const metarl_robot *robot, const metarl_layer *layer)
{
    metarl_change view;
    view.weight = metarl_change_at(robot, layer->weight_change);
    view.bias = metarl_change_at(robot, layer->bias_change);
    view.places = (const int16_t *)(const void *)metarl_change_at(robot, layer->places);
    return view;
}

/* The change of an input's weights; a null pointer if there is none. */
const float *metarl_change_row(const metarl_change *change, uint32_t input, uint32_t outputs)
{
    if (change->places == 0) {
        return change->weight + input * outputs;
    }
    return change->places[input] < 0 ? 0 : change->weight + (uint32_t)change->places[input] * outputs;
}

/* Whether the recording is the row of one time step, in the robot. */
int metarl_stores_nothing(const metarl_controller *controller) { return controller->row != METARL_NONE; }

/* Storage: a row per time step, [observation, action, reward] or, packed, [observation of 8 bits, reward] */

int metarl_is_packed(const metarl_controller *controller) { return controller->observation_low != 0; }

uint32_t metarl_observation_bytes(const metarl_controller *controller)
{
    return metarl_is_packed(controller) ? controller->observations : 4u * controller->observations;
}

uint32_t metarl_reward_place(const metarl_controller *controller)
{
    return metarl_observation_bytes(controller) + (metarl_is_packed(controller) ? 0u : 4u * controller->actions);
}

uint32_t metarl_place_of(const metarl_robot *robot, uint32_t row)
{
    return robot->controller->recording + row * (metarl_reward_place(robot->controller) + 4u);
}

metarl_status metarl_read_row(const metarl_robot *robot, uint32_t row, uint32_t place, void *data, uint32_t bytes)
{
    const metarl_storage *storage = robot->storage;
    if (metarl_stores_nothing(robot->controller)) {
        memcpy(data, (const unsigned char *)robot + robot->controller->row + place, bytes);
        return METARL_OK;
    }
    return storage->read(storage->user, metarl_place_of(robot, row) + place, data, bytes) == 0 ? METARL_OK
                                                                                               : METARL_STORAGE;
}

metarl_status metarl_write_row(metarl_robot *robot, uint32_t row, uint32_t place, const void *data, uint32_t bytes)
{
    const metarl_storage *storage = robot->storage;
    if (metarl_stores_nothing(robot->controller)) {
        memcpy(metarl_bytes_at(robot, robot->controller->row + place), data, bytes);
        return METARL_OK;
    }
    return storage->write(storage->user, metarl_place_of(robot, row) + place, data, bytes) == 0 ? METARL_OK
                                                                                                : METARL_STORAGE;
}

float metarl_unpacked(const metarl_controller *controller, uint16_t index, uint8_t level)
{
    return controller->observation_low[index] + (float)level * controller->observation_step[index];
}

uint8_t metarl_packed(const metarl_controller *controller, uint16_t index, float value)
{
    const float step = controller->observation_step[index];
    const float level = step > 0.0f ? (value - controller->observation_low[index]) / step : 0.0f;
    return level <= 0.0f ? 0 : level >= 255.0f ? 255 : (uint8_t)(level + 0.5f);
}

/* Read an observation into memory for as many floats; packed bytes lie in its last quarter until they are unpacked. */
metarl_status metarl_read_observation(const metarl_robot *robot, uint32_t row, unsigned char *memory)
{
    const metarl_controller *controller = robot->controller;
    const uint32_t bytes = metarl_observation_bytes(controller);
    const unsigned char *data = memory + (4u * controller->observations - bytes);
    const metarl_status status =
        metarl_read_row(robot, row, 0, memory + (4u * controller->observations - bytes), bytes);
    uint16_t index;
    for (index = 0; status == METARL_OK && metarl_is_packed(controller) && index < controller->observations; index++) {
        const float value = metarl_unpacked(controller, index, data[index]);
        memcpy(memory + 4u * index, &value, sizeof value);
    }
    return status;
}
