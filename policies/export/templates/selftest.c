#include "${prefix}_selftest.h"

#include <math.h>

#define EXAMPLES $examples
#define EPISODES $episodes /* none: nothing adapts, or attention keeps too many channels of short episodes */
#define STEPS $steps
#define PACKED $packed
#define SEED ${seed}u

$tables
static metarl_status compare(${prefix}_robot *robot, const float *expected, float *difference)
{
    float action[${PREFIX}_ACTIONS];
    metarl_status status = METARL_OK;
    int example, index;
    for (example = 0; example < EXAMPLES && status == METARL_OK; example++) {
        status = ${prefix}_predict(robot, observations + example * ${PREFIX}_OBSERVATIONS, action);
        for (index = 0; index < ${PREFIX}_ACTIONS; index++) {
            *difference = fmaxf(*difference, fabsf(action[index] - *expected++));
        }
    }
    return status;
}

static metarl_status record(${prefix}_robot *robot)
{
    const float *row = recorded;
    float action[${PREFIX}_ACTIONS];
    metarl_status status = METARL_OK;
    int episode, step;
    for (episode = 0; episode < EPISODES && status == METARL_OK; episode++) {
        for (step = 0; step < STEPS && status == METARL_OK; step++) {
            status = PACKED ? ${prefix}_act(robot, row, action)
                            : ${prefix}_record(robot, row, row + ${PREFIX}_OBSERVATIONS);
            row += ${PREFIX}_OBSERVATIONS + ${PREFIX}_ACTIONS;
            status = status == METARL_OK ? ${prefix}_reward(robot, *row++) : status;
        }
        status = status == METARL_OK ? ${prefix}_end_episode(robot) : status;
    }
    return status;
}

metarl_status ${prefix}_selftest(${prefix}_robot *robot, const metarl_storage *storage, float *difference)
{
    metarl_status status;
    *difference = 0.0f;
    ${prefix}_start(robot, storage, SEED);
    status = compare(robot, actions, difference);
    if (status == METARL_OK && EPISODES > 0) {
        status = record(robot);
        status = status == METARL_OK ? ${prefix}_adapt(robot) : status;
        status = status == METARL_OK ? compare(robot, adapted_actions, difference) : status;
    }
    ${prefix}_start(robot, storage, SEED);
    return status;
}
