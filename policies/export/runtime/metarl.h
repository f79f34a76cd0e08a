/* metarl: a controller that adapts on a microcontroller. C99 and C++; no heap, no standard output, no globals.

A robot is one struct, whose size is all the memory that it needs beside the stack. The struct and the tables of a
controller are generated; this file and metarl.c are the same for all controllers.

    static NAME_robot robot;
    NAME_start(&robot, &storage, seed);
    for each episode:
        for each time step: NAME_act(&robot, observation, action); ... NAME_reward(&robot, reward);
        NAME_end_episode(&robot);
    NAME_adapt(&robot);
    from now on: NAME_predict(&robot, observation, action);

A call that fails returns a negative status and changes nothing: the robot keeps the policy that it had. */

#ifndef METARL_H
#define METARL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    METARL_OK = 0,
    METARL_MORE = 1,        /* metarl_adapt_some: not done yet, call it again */
    METARL_NOT_FINITE = -1, /* an observation, action, reward or result is NaN or infinite */
    METARL_ORDER = -2,      /* this call is not due: see the order above */
    METARL_FULL = -3,       /* no room for another time step or episode */
    METARL_EMPTY = -4,      /* there is nothing recorded to end or to adapt to */
    METARL_CAPACITY = -5,   /* attention keeps more channels than there is room for */
    METARL_STORAGE = -6,    /* a callback of the storage, or of saving and restoring, has failed */
    METARL_CORRUPT = -7     /* what is to be restored is damaged, or of another controller */
} metarl_status;

/* Where episodes are recorded: RAM, FRAM, flash or an SD card. The callbacks return 0 on success. Each byte is written
once per recording, in ascending order, except that the next recording starts at offset 0 again. */
typedef struct {
    void *user;
    uint32_t bytes;
    int (*read)(void *user, uint32_t offset, void *data, uint32_t bytes);
    int (*write)(void *user, uint32_t offset, const void *data, uint32_t bytes);
    const void *memory; /* the address of offset 0 if the storage can be read like memory, else a null pointer */
} metarl_storage;

#define METARL_NONE UINT32_MAX /* an offset of nothing */

struct metarl_robot;
struct metarl_layer;

/* The product of some rows with a layer, forward or backward, in other memory */
typedef void (*metarl_product)(const struct metarl_robot *robot, const struct metarl_layer *layer, const float *factor,
                               float *product, uint32_t rows);

/* An activation in place. A pointer, so that a robot without tanh carries none of its code. */
typedef void (*metarl_activation)(float *values, uint32_t count);

/* A fully-connected layer, and where its change lies: byte offsets in the robot or, with windows, in the storage. */
typedef struct metarl_layer {
    metarl_product forward, backward; /* a null pointer: no gradient passes back */
    const float *weight;              /* [output][input]; of a pruned layer [kept weight], input by input */
    const float *bias;                /* [output] */
    uint16_t inputs, outputs;
    uint32_t weight_change;      /* [input][output], [place][output] or, as the weights, [kept weight] */
    uint32_t bias_change;        /* [output] */
    uint32_t places;             /* of the inputs that attention has kept, others at -1; METARL_NONE: all in order */
    const uint16_t *kept_counts; /* of the weights [input][part of up to 256 outputs]; a null pointer: all are kept */
    const uint8_t *kept_outputs; /* [kept weight], counted from the first of its part */
    uint8_t whole_inputs;        /* whether the change of a pruned layer has numbers for pruned weights, too */
    metarl_activation activation; /* of a hidden layer's outputs */
} metarl_layer;

/* An attention module: two fully-connected layers with hidden units between them. */
typedef struct {
    const float *hidden_weight, *hidden_bias, *weight, *bias;
    float bound; /* of the logits; 0: none */
    uint16_t channels, units;
} metarl_module;

/* Operations that run together: once, or for each block of `rows` time steps of an episode. */
typedef struct {
    metarl_status (*run)(struct metarl_robot *robot);
    uint16_t rows;
    uint8_t first;         /* the first stage of the phase */
    uint8_t last;          /* whether it is the last stage of the phase */
    uint8_t every_episode; /* whether the phase runs for each episode */
} metarl_stage;

typedef struct {
    const metarl_stage *stages;
    uint8_t count;
    uint8_t resume;               /* the first stage if the normal equations have been added up while recording */
    uint32_t trace, gram, target; /* byte offsets in the robot: the normal equations */
} metarl_program;

/* A span of the robot that holds the change of some parameters. */
typedef struct {
    uint32_t offset, bytes;
} metarl_span;

typedef struct {
    uint32_t checksum; /* of the controller's file */
    uint16_t observations, actions;
    uint16_t regressed; /* observations among the features of the baseline: all, or none */
    uint16_t layers;
    uint16_t inner_steps;
    uint16_t episodes; /* of an inner step, at most */
    uint32_t horizon;  /* time steps of an episode, at most */
    const metarl_layer *layer;
    const float *log_std;
    uint32_t log_std_change;
    const float *action_low, *action_high;
    float action_scale;
    const float *observation_mean, *observation_std; /* that normalize observations; or null pointers */
    const float *observation_low, *observation_step; /* of packed recordings; null pointers: recordings are raw */
    const float *gate;                               /* [inner step][2], then mean and deviation; or a null pointer */
    const metarl_program *programs;                  /* [inner step] */
    const metarl_span *changes;
    uint16_t change_count;
    uint32_t act, features, lengths; /* byte offsets in the robot: working memory, lengths of the episodes */
    uint32_t row;                    /* of the time step in work, where nothing is stored; METARL_NONE: there is storage */
    uint32_t recording;              /* byte offset of the episodes in the storage */
    uint8_t stores_change;           /* whether the change lies in the storage, at its start */
    double discount;
} metarl_controller;

typedef struct metarl_robot {
    const metarl_controller *controller;
    const metarl_storage *storage;
    double rewards; /* the sum of all recorded rewards */
    uint32_t seed;
    uint32_t recorded; /* time steps of all ended episodes */
    uint32_t steps;    /* time steps of the episode in work */
    uint32_t start;    /* the first of the time steps in work */
    uint32_t row;      /* the first time step of the episode in work, in the storage */
    float gate;        /* what multiplies the step sizes */
    uint16_t episodes; /* ended episodes */
    uint16_t episode;  /* the episode in work */
    uint16_t rows;     /* time steps in work */
    uint16_t taken;    /* inner steps that have been taken: the policy in force */
    uint8_t stage;     /* the stage in work */
    uint8_t acted;     /* whether an action waits for its reward */
    uint8_t adapting;  /* whether an inner step has begun */
    uint8_t equations; /* whether the normal equations of all recorded time steps are there */
} metarl_robot;

/* Calls. Observations and actions are arrays of the controller's sizes; actions are scaled and clipped. */
metarl_status metarl_act(metarl_robot *robot, const float *observation, float *action);
metarl_status metarl_record(metarl_robot *robot, const float *observation, const float *policy_action);
metarl_status metarl_reward(metarl_robot *robot, float reward);
metarl_status metarl_end_episode(metarl_robot *robot);
metarl_status metarl_adapt(metarl_robot *robot);
metarl_status metarl_adapt_some(metarl_robot *robot, uint32_t stages);
metarl_status metarl_predict(metarl_robot *robot, const float *observation, float *action);
void metarl_forget(metarl_robot *robot);
uint32_t metarl_saved_bytes(const metarl_robot *robot);
metarl_status metarl_save(const metarl_robot *robot, const metarl_storage *target);
metarl_status metarl_restore(metarl_robot *robot, const metarl_storage *source);
void metarl_start(metarl_robot *robot, const metarl_controller *controller, const metarl_storage *storage,
                  uint32_t seed);
float metarl_noise(uint32_t seed, uint32_t step, uint16_t action);

#ifdef __cplusplus
}
#endif

#endif
