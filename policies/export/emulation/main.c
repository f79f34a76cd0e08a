/* Runs a controller on recorded episodes and reports what it took: on this machine, or on an emulated board. */

#include "main.h"

#include <stddef.h>
#include <string.h>

#define PREDICTIONS 8
#define TRIALS      16 /* calls over which instructions are averaged */

static ROBOT robot;
static unsigned char recordings[STORAGE_BYTES + 1u] EXTERNAL; /* stands for flash, FRAM or an SD card */

static int read_storage(void *user, uint32_t offset, void *data, uint32_t bytes)
{
    (void)user;
    memcpy(data, recordings + offset, bytes);
    return 0;
}

static int write_storage(void *user, uint32_t offset, const void *data, uint32_t bytes)
{
    (void)user;
    memcpy(recordings + offset, data, bytes);
    return 0;
}

static const metarl_storage storage = {0, STORAGE_BYTES, read_storage, write_storage, recordings};

/* What is reported, before the robot's memory, the change in the storage and the actions. */
typedef struct {
    int32_t status;
    uint32_t stack, arena_offset, robot_bytes;
    uint32_t act, reward, predict_before, predict_after; /* ticks of TRIALS calls */
    uint32_t adapt;                                      /* ticks */
} report;

static uint32_t timed_predictions(void)
{
    float action[ACTIONS];
    uint32_t trial, start = ticks();
    for (trial = 0; trial < TRIALS; trial++) {
        metarl_predict(&robot.base, recorded_rows, action);
    }
    return ticks() - start;
}

/* Acts and is rewarded a few times, and forgets it. */
static metarl_status timed_steps(report *result)
{
    float action[ACTIONS];
    metarl_status status = METARL_OK;
    uint32_t trial, start;
    for (trial = 0; trial < TRIALS && trial < recorded_lengths[0] && status == METARL_OK; trial++) {
        start = ticks();
        status = metarl_act(&robot.base, recorded_rows + trial * RECORDED_ROW, action);
        result->act += ticks() - start;
        start = ticks();
        status = status == METARL_OK ? metarl_reward(&robot.base, 0.0f) : status;
        result->reward += ticks() - start;
    }
    metarl_start(&robot.base, &CONTROLLER, &storage, SEED);
    return status;
}

static metarl_status record(void)
{
    const float *row = recorded_rows;
    float action[ACTIONS];
    metarl_status status = METARL_OK;
    uint32_t episode, step;
    for (episode = 0; episode < RECORDED_EPISODES && status == METARL_OK; episode++) {
        for (step = 0; step < recorded_lengths[episode] && status == METARL_OK; step++, row += RECORDED_ROW) {
            status =
                PACKED ? metarl_act(&robot.base, row, action) : metarl_record(&robot.base, row, row + OBSERVATIONS);
            status = status == METARL_OK ? metarl_reward(&robot.base, row[OBSERVATIONS + ACTIONS]) : status;
        }
        status = status == METARL_OK ? metarl_end_episode(&robot.base) : status;
    }
    return status;
}

int main(void)
{
    report result;
    float action[ACTIONS];
    metarl_status status;
    uint32_t start, number;
    memset(&result, 0, sizeof result);
    result.arena_offset = (uint32_t)offsetof(ROBOT, arena);
    result.robot_bytes = (uint32_t)sizeof robot;
    metarl_start(&robot.base, &CONTROLLER, &storage, SEED);
    result.predict_before = timed_predictions();
    status = timed_steps(&result);
    if (status == METARL_OK) {
        status = record();
    }
    start = ticks();
    if (status == METARL_OK) {
        status = metarl_adapt(&robot.base);
    }
    result.adapt = ticks() - start;
    result.predict_after = timed_predictions();
    result.status = status;
    result.stack = stack_used();
    open_report();
    write_report(&result, sizeof result);
    write_report(&robot, sizeof robot);
    write_report(recordings, CHANGE_BYTES);
    for (number = 0; number < PREDICTIONS && number < recorded_lengths[0]; number++) {
        metarl_predict(&robot.base, recorded_rows + number * RECORDED_ROW, action);
        write_report(action, sizeof action);
    }
    close_report();
    return 0;
}
