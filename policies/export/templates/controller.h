/* A controller of metarl.

$facts */

#ifndef ${PREFIX}_CONTROLLER_H
#define ${PREFIX}_CONTROLLER_H

#include "metarl.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ${PREFIX}_OBSERVATIONS $observations
#define ${PREFIX}_ACTIONS $actions
#define ${PREFIX}_HORIZON $horizon
#define ${PREFIX}_EPISODES $episodes
#define ${PREFIX}_STORAGE_BYTES ${storage_bytes}u

/* The robot's memory. Buffers that are never in use at the same time share a place. */
typedef struct {
    metarl_robot base;
    union {
        double aligned;
$buffers
    } arena;
} ${prefix}_robot;

typedef char ${prefix}_arena_is_as_planned[sizeof(((${prefix}_robot *)0)->arena) == $arena_bytes ? 1 : -1];

extern const metarl_controller ${prefix}_controller;

/* The calls of metarl.h for this controller. */

static inline void ${prefix}_start(${prefix}_robot *robot, const metarl_storage *storage, uint32_t seed)
{
    metarl_start(&robot->base, &${prefix}_controller, storage, seed);
}

static inline metarl_status ${prefix}_act(${prefix}_robot *robot, const float *observation, float *action)
{
    return metarl_act(&robot->base, observation, action);
}

static inline metarl_status ${prefix}_record(${prefix}_robot *robot, const float *observation, const float *drawn)
{
    return metarl_record(&robot->base, observation, drawn);
}

static inline metarl_status ${prefix}_reward(${prefix}_robot *robot, float reward)
{
    return metarl_reward(&robot->base, reward);
}

static inline metarl_status ${prefix}_end_episode(${prefix}_robot *robot)
{
    return metarl_end_episode(&robot->base);
}

static inline metarl_status ${prefix}_adapt(${prefix}_robot *robot) { return metarl_adapt(&robot->base); }

static inline metarl_status ${prefix}_adapt_some(${prefix}_robot *robot, uint32_t stages)
{
    return metarl_adapt_some(&robot->base, stages);
}

static inline metarl_status ${prefix}_predict(${prefix}_robot *robot, const float *observation, float *action)
{
    return metarl_predict(&robot->base, observation, action);
}

static inline void ${prefix}_forget(${prefix}_robot *robot) { metarl_forget(&robot->base); }

static inline uint32_t ${prefix}_saved_bytes(const ${prefix}_robot *robot) { return metarl_saved_bytes(&robot->base); }

static inline metarl_status ${prefix}_save(const ${prefix}_robot *robot, const metarl_storage *target)
{
    return metarl_save(&robot->base, target);
}

static inline metarl_status ${prefix}_restore(${prefix}_robot *robot, const metarl_storage *source)
{
    return metarl_restore(&robot->base, source);
}

#ifdef __cplusplus
}
#endif

#endif
