/* Acting, recording and adapting. */

#include "metarl_internal.h"

#include <math.h>
#include <string.h>

static void forget_episodes(metarl_robot *robot)
{
    robot->rewards = 0.0;
    robot->recorded = robot->steps = robot->start = robot->row = 0;
    robot->episodes = robot->episode = 0;
    robot->stage = robot->acted = robot->adapting = 0;
    robot->equations = 1;
}

void metarl_start(metarl_robot *robot, const metarl_controller *controller, const metarl_storage *storage,
                  uint32_t seed)
{
    robot->controller = controller;
    robot->storage = storage;
    robot->seed = seed;
    robot->taken = 0;
    robot->rows = 0;
    robot->gate = 1.0f;
    forget_episodes(robot);
}

void metarl_forget(metarl_robot *robot) { metarl_start(robot, robot->controller, robot->storage, robot->seed + 1u); }

metarl_status metarl_predict(metarl_robot *robot, const float *observation, float *action)
{
    const metarl_controller *controller = robot->controller;
    float *rows = (float *)(void *)metarl_bytes_at(robot, controller->act), *mean;
    if (!metarl_finite_all(observation, controller->observations)) {
        return METARL_NOT_FINITE;
    }
    metarl_normalize(controller, observation, rows);
    mean = metarl_mean_action(robot, rows, metarl_widest(controller));
    if (!metarl_finite_all(mean, controller->actions)) {
        return METARL_NOT_FINITE;
    }
    metarl_execute(controller, mean, action);
    return METARL_OK;
}

/* The first stages of a program that stores nothing, which recording runs. */
enum { BEGIN, EPISODE, ACT, REWARD, END };

static metarl_status run_recording(metarl_robot *robot, int stage)
{
    const metarl_program *program = &robot->controller->programs[robot->taken];
    robot->rows = 1;
    return metarl_stores_nothing(robot->controller) && program->count > 0 ? program->stages[stage].run(robot)
                                                                          : METARL_OK;
}

/* Clears the normal equations for the first time step, and the trace for that of an episode. */
static void clear_equations(metarl_robot *robot)
{
    const metarl_program *program = &robot->controller->programs[robot->taken];
    const uint32_t count = metarl_feature_count(robot->controller);
    if (robot->recorded + robot->steps == 0) {
        robot->equations = 1;
        memset(metarl_doubles_at(robot, program->gram), 0, count * (count + 1) / 2 * sizeof(double));
        memset(metarl_doubles_at(robot, program->target), 0, count * sizeof(double));
    }
    if (robot->steps == 0 && robot->equations) {
        memset(metarl_doubles_at(robot, program->trace), 0, count * sizeof(double));
    }
}

/* Whether another time step can be recorded; prepares the memory for the first one. */
static metarl_status begin_step(metarl_robot *robot)
{
    const metarl_controller *controller = robot->controller;
    const uint32_t row = robot->recorded + robot->steps;
    metarl_status status = METARL_OK;
    if (robot->acted || robot->adapting || robot->taken >= controller->inner_steps) {
        return METARL_ORDER;
    }
    if (robot->steps >= controller->horizon || robot->episodes >= controller->episodes ||
        (!metarl_stores_nothing(controller) && metarl_place_of(robot, row + 1) > robot->storage->bytes)) {
        return METARL_FULL;
    }
    if (!metarl_stores_nothing(controller)) {
        clear_equations(robot);
        return METARL_OK;
    }
    if (row == 0) {
        status = run_recording(robot, BEGIN);
    }
    return status == METARL_OK && robot->steps == 0 ? run_recording(robot, EPISODE) : status;
}

/* Writes what is known of a time step before its reward, and its features. */
static metarl_status write_step(metarl_robot *robot, const float *observation, const float *policy_action)
{
    const metarl_controller *controller = robot->controller;
    const uint32_t row = robot->recorded + robot->steps, bytes = metarl_observation_bytes(controller);
    double *features = metarl_doubles_at(robot, controller->features);
    metarl_status status = METARL_OK;
    uint16_t index;
    if (metarl_is_packed(controller)) {
        for (index = 0; status == METARL_OK && index < controller->observations; index++) {
            const uint8_t level = metarl_packed(controller, index, observation[index]);
            status = metarl_write_row(robot, row, index, &level, 1);
        }
    } else {
        status = metarl_write_row(robot, row, 0, observation, bytes);
        if (status == METARL_OK) {
            status = metarl_write_row(robot, row, bytes, policy_action, 4u * controller->actions);
        }
    }
    if (status == METARL_OK) {
        for (index = 0; index < controller->regressed; index++) {
            features[index] = (double)observation[index];
        }
        metarl_complete_features(controller, features, robot->steps);
        status = run_recording(robot, ACT);
    }
    robot->acted = status == METARL_OK;
    return status;
}

/* The observation as the policy sees it while it records: normalized, and rounded if recordings are packed. */
static void see(const metarl_controller *controller, const float *observation, float *seen)
{
    uint16_t index;
    metarl_normalize(controller, observation, seen);
    for (index = 0; metarl_is_packed(controller) && index < controller->observations; index++) {
        seen[index] = metarl_unpacked(controller, index, metarl_packed(controller, index, seen[index]));
    }
}

metarl_status metarl_act(metarl_robot *robot, const float *observation, float *action)
{
    const metarl_controller *controller = robot->controller;
    const uint32_t row = robot->recorded + robot->steps, width = metarl_widest(controller);
    float *rows = (float *)(void *)metarl_bytes_at(robot, controller->act), *mean, *seen;
    metarl_status status = begin_step(robot);
    uint16_t index;
    if (status != METARL_OK) {
        return status;
    }
    if (!metarl_finite_all(observation, controller->observations)) {
        return METARL_NOT_FINITE;
    }
    see(controller, observation, rows);
    mean = metarl_mean_action(robot, rows, width);
    for (index = 0; index < controller->actions; index++) {
        mean[index] +=
            metarl_deviation_of(robot, index) * metarl_noise(robot->seed, metarl_noise_step(robot, row), index);
    }
    if (!metarl_finite_all(mean, controller->actions)) {
        return METARL_NOT_FINITE;
    }
    seen = mean == rows ? rows + width : rows;
    see(controller, observation, seen);
    metarl_execute(controller, mean, action); /* now, for adding up may take the memory of the policy */
    return write_step(robot, seen, mean);
}

metarl_status metarl_record(metarl_robot *robot, const float *observation, const float *policy_action)
{
    const metarl_controller *controller = robot->controller;
    float *seen = (float *)(void *)metarl_bytes_at(robot, controller->act);
    const metarl_status status = begin_step(robot);
    if (status != METARL_OK) {
        return status;
    }
    if (metarl_is_packed(controller)) {
        return METARL_ORDER; /* packed recordings hold no actions: metarl_act draws them again */
    }
    if (!metarl_finite_all(observation, controller->observations) ||
        !metarl_finite_all(policy_action, controller->actions)) {
        return METARL_NOT_FINITE;
    }
    see(controller, observation, seen);
    return write_step(robot, seen, policy_action);
}

metarl_status metarl_reward(metarl_robot *robot, float reward)
{
    const metarl_controller *controller = robot->controller;
    metarl_status status;
    if (!robot->acted) {
        return METARL_ORDER;
    }
    if (!isfinite(reward)) {
        return METARL_NOT_FINITE;
    }
    status = metarl_write_row(robot, robot->recorded + robot->steps, metarl_reward_place(controller), &reward,
                              sizeof reward);
    if (status != METARL_OK) {
        return status;
    }
    status = run_recording(robot, REWARD);
    if (status != METARL_OK) {
        return status;
    }
    if (robot->equations && controller->programs[robot->taken].gram != METARL_NONE) {
        metarl_add_step(robot, metarl_doubles_at(robot, controller->features), (double)reward);
    }
    robot->rewards += (double)reward;
    robot->steps++;
    robot->acted = 0;
    return METARL_OK;
}

metarl_status metarl_end_episode(metarl_robot *robot)
{
    metarl_status status;
    if (robot->acted || robot->adapting) {
        return METARL_ORDER;
    }
    if (robot->steps == 0) {
        return METARL_EMPTY;
    }
    status = run_recording(robot, END);
    if (status != METARL_OK) {
        return status;
    }
    metarl_lengths_of(robot)[robot->episodes++] = robot->steps;
    robot->recorded += robot->steps;
    robot->steps = 0;
    return METARL_OK;
}

/* Goes to the stage after the one that has run. */
static void advance(metarl_robot *robot, const metarl_stage *stage)
{
    const uint32_t *lengths = metarl_lengths_of(robot);
    robot->start += stage->rows;
    if (stage->rows > 0 && robot->start < robot->steps) {
        return;
    }
    robot->start = 0;
    robot->stage++;
    if (stage->last && stage->every_episode) {
        robot->row += robot->steps;
        robot->episode++;
        if (robot->episode < robot->episodes) {
            robot->stage = stage->first;
        } else {
            robot->episode = 0;
            robot->row = 0;
        }
        robot->steps = lengths[robot->episode];
    }
}

metarl_status metarl_adapt_some(metarl_robot *robot, uint32_t stages)
{
    const metarl_controller *controller = robot->controller;
    const metarl_program *program;
    metarl_status status = METARL_OK;
    if (robot->taken >= controller->inner_steps || (!robot->adapting && (robot->acted || robot->steps > 0))) {
        return METARL_ORDER;
    }
    if (robot->episodes == 0) {
        return METARL_EMPTY;
    }
    program = &controller->programs[robot->taken];
    if (!robot->adapting) {
        robot->adapting = 1;
        robot->gate = 1.0f;
        robot->steps = metarl_lengths_of(robot)[0];
        robot->stage = robot->equations ? program->resume : 0;
    }
    for (; stages > 0 && status == METARL_OK && robot->stage < program->count; stages--) {
        const metarl_stage *stage = &program->stages[robot->stage];
        const uint32_t left = robot->steps - robot->start;
        robot->rows = left < stage->rows ? (uint16_t)left : stage->rows;
        status = stage->run(robot);
        if (status == METARL_OK) {
            advance(robot, stage);
        }
    }
    if (status != METARL_OK) {
        robot->adapting = robot->equations = 0; /* other data lies in their memory now */
        robot->steps = robot->start = robot->row = 0;
        robot->episode = 0;
        if (metarl_stores_nothing(controller)) {
            forget_episodes(robot);
        }
        return status;
    }
    if (robot->stage < program->count) {
        return METARL_MORE;
    }
    robot->taken++;
    forget_episodes(robot);
    return METARL_OK;
}

metarl_status metarl_adapt(metarl_robot *robot)
{
    metarl_status status;
    do {
        status = metarl_adapt_some(robot, UINT32_MAX);
    } while (status == METARL_MORE);
    return status;
}
