/* What the parts of the runtime share. */

#ifndef METARL_INTERNAL_H
#define METARL_INTERNAL_H

#include "metarl_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The change of a layer that is in force; null pointers where there is none. */
typedef struct {
    const float *weight, *bias;
    const int16_t *places;
} metarl_change;

/* metarl_memory.c */
unsigned char *metarl_bytes_at(metarl_robot *robot, uint32_t offset);
double *metarl_doubles_at(metarl_robot *robot, uint32_t offset);
uint32_t *metarl_lengths_of(metarl_robot *robot);
const unsigned char *metarl_changes_of(const metarl_robot *robot);
const float *metarl_change_at(const metarl_robot *robot, uint32_t offset);
metarl_change metarl_change_of(const metarl_robot *robot, const metarl_layer *layer);
const float *metarl_change_row(const metarl_change *change, uint32_t input, uint32_t outputs);
int metarl_is_packed(const metarl_controller *controller);
int metarl_stores_nothing(const metarl_controller *controller);
uint32_t metarl_observation_bytes(const metarl_controller *controller);
uint32_t metarl_reward_place(const metarl_controller *controller);
uint32_t metarl_place_of(const metarl_robot *robot, uint32_t row);
metarl_status metarl_read_row(const metarl_robot *robot, uint32_t row, uint32_t place, void *data, uint32_t bytes);
metarl_status metarl_write_row(metarl_robot *robot, uint32_t row, uint32_t place, const void *data, uint32_t bytes);
float metarl_unpacked(const metarl_controller *controller, uint16_t index, uint8_t level);
uint8_t metarl_packed(const metarl_controller *controller, uint16_t index, float value);
metarl_status metarl_read_observation(const metarl_robot *robot, uint32_t row, unsigned char *memory);

/* metarl_layers.c */
int metarl_finite_all(const float *values, uint32_t count);
float metarl_dot(const float *a, const float *b, uint32_t count);
void metarl_copy(float *target, const float *source, uint32_t count);
void metarl_add_scaled(float *target, const float *row, float factor, uint32_t count);
void metarl_add_tile(float *sums, const float *rows, const float *columns, uint32_t steps);
void metarl_add_tile_across(float *sums, const float *rows, const float *columns, uint32_t steps, uint32_t width);

/* metarl_policy.c */
uint32_t metarl_noise_step(const metarl_robot *robot, uint32_t row);
float metarl_deviation_of(const metarl_robot *robot, uint16_t action);
void metarl_normalize(const metarl_controller *controller, const float *observation, float *normalized);
uint32_t metarl_widest(const metarl_controller *controller);
float *metarl_mean_action(const metarl_robot *robot, float *rows, uint32_t width);
void metarl_execute(const metarl_controller *controller, const float *policy_action, float *action);

/* metarl_advantages.c */
#define METARL_SMALLEST_DEVIATION 1e-8 /* of the advantages, which are divided by it */
#define METARL_MIN_SPREAD         1e-4 /* of the returns, relative to their size: below, no action is told from another */
void metarl_open_gate(metarl_robot *robot);
uint32_t metarl_feature_count(const metarl_controller *controller);
void metarl_complete_features(const metarl_controller *controller, double *features, uint32_t time);
void metarl_add_step(metarl_robot *robot, const double *features, double reward);

#ifdef __cplusplus
}
#endif

#endif
