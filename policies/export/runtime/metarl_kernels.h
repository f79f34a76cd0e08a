/* The kernels that a generated program calls, one for each operation. */

#ifndef METARL_KERNELS_H
#define METARL_KERNELS_H

#include "metarl.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The advantages */
metarl_status metarl_add_normal_equations(metarl_robot *robot, double *features);
void metarl_solve(const metarl_robot *robot, double *gram, double *target);
metarl_status metarl_add_statistics(const metarl_robot *robot, const double *weights, double *features, double *moments,
                                    double *returns, double gae_lambda);
metarl_status metarl_find_scale(metarl_robot *robot, double *moments, const double *returns);
metarl_status metarl_normalized_advantages(const metarl_robot *robot, const double *weights, double *features,
                                           const double *moments, float *advantages, double gae_lambda);

/* The products of layers: y [rows][output] of x [rows][input] with the change that is in force, g(x) of g(y) */
void metarl_dense_forward(const metarl_robot *robot, const metarl_layer *layer, const float *x, float *y,
                          uint32_t rows);
void metarl_dense_backward(const metarl_robot *robot, const metarl_layer *layer, const float *g, float *passed,
                           uint32_t rows);
void metarl_pruned_forward(const metarl_robot *robot, const metarl_layer *layer, const float *x, float *y,
                           uint32_t rows);
void metarl_pruned_backward(const metarl_robot *robot, const metarl_layer *layer, const float *g, float *passed,
                            uint32_t rows);

/* The activations */
void metarl_relu(float *values, uint32_t count);
void metarl_tanh(float *values, uint32_t count);

/* Forward and backward: tensors [row][channel] of the time steps in work */
void metarl_inverse_deviations(const metarl_robot *robot, float *inverse_std);
metarl_status metarl_load(const metarl_robot *robot, float *inputs);
void metarl_linear(const metarl_robot *robot, const metarl_layer *layer, const float *inputs, float *output);
void metarl_linear_in_place(const metarl_robot *robot, const metarl_layer *layer, const float *inputs, float *output,
                            float *row, uint32_t words);
void metarl_rectify(const metarl_robot *robot, float *output, uint8_t *bits, uint16_t width);
void metarl_squash(const metarl_robot *robot, float *output, uint16_t width);
metarl_status metarl_standardize(const metarl_robot *robot, float *mean, const float *inverse_std);
void metarl_output_gradient(const metarl_robot *robot, float *standardized, const float *inverse_std,
                            const float *advantages);
void metarl_input_gradient(const metarl_robot *robot, const metarl_layer *layer, const float *gradient, float *passed);
void metarl_input_gradient_in_place(const metarl_robot *robot, const metarl_layer *layer, const float *gradient,
                                    float *passed, float *row, uint32_t words);
void metarl_input_gradient_tanh(const metarl_robot *robot, const metarl_layer *layer, const float *gradient,
                                float *passed, float *row, uint32_t words);
void metarl_block(const metarl_robot *robot, float *gradient, const uint8_t *bits, uint16_t width);

/* Attention */
void metarl_add_rows(const metarl_robot *robot, const float *tensor, float *total, uint16_t width);
void metarl_score(const metarl_robot *robot, const metarl_module *module, float *summary, float clip, float *hidden);
metarl_status metarl_open_channels(const float *scores, int16_t *places, uint16_t channels, uint16_t capacity);
void metarl_keep(const metarl_robot *robot, const float *inputs, const float *scores, float *kept, uint16_t width,
                 uint16_t first, uint16_t count);

/* The accumulators */
void metarl_add_log_std_gradient(const metarl_robot *robot, const float *standardized, const float *advantages,
                                 float *total);
void metarl_add_bias_gradient(const metarl_robot *robot, const float *gradient, const float *scores, float *total,
                              uint16_t outputs);
void metarl_add_weight_gradient(const metarl_robot *robot, const float *inputs, const float *gradient,
                                const float *scores, float *total, uint16_t width, uint16_t outputs, uint16_t first,
                                uint16_t count);
void metarl_add_masked_gradient(const metarl_robot *robot, const metarl_layer *layer, const float *inputs,
                                const float *gradient, const float *scores, float *total, uint16_t first,
                                uint16_t count);
void metarl_add_kept_gradient(const metarl_robot *robot, const float *kept, const float *gradient,
                              const float *kept_scores, const float *scores, const int16_t *places, float *total,
                              uint16_t outputs, uint16_t first, uint16_t count);

/* Nothing stored */
void metarl_leave(const metarl_robot *robot, const double *features, double *last, uint32_t columns, double gae_lambda);
metarl_status metarl_hold(const metarl_robot *robot, const double *features, double *last, uint32_t columns);
void metarl_add_moments(const metarl_robot *robot, const double *z, double *c, double *moments, uint32_t columns,
                        double gae_lambda);
void metarl_add_eligible(const metarl_robot *robot, float *eligibility, const double *z, uint32_t count,
                         uint32_t columns, double gae_lambda);
void metarl_begin_rewards(double *rewards);
metarl_status metarl_add_reward(const metarl_robot *robot, double *rewards, double *totals);
metarl_status metarl_mix(metarl_robot *robot, const double *weights, const double *moments, const double *rewards,
                         double *totals, double *mixture, uint32_t columns);
void metarl_combine(float *eligibility, const double *mixture, uint32_t count, uint32_t columns);

/* The change */
void metarl_add_context_gradient(const float *total, uint32_t outputs, const float *matrix, float *gradient,
                                 uint32_t context);
metarl_status metarl_update_streamed_context(const metarl_robot *robot, float *gradient, uint32_t context,
                                             const float *matrix, float *total, uint32_t outputs, float step_size);
metarl_status metarl_update(const metarl_robot *robot, float *total, uint32_t count, float step_size);
metarl_status metarl_update_context(const metarl_robot *robot, float *total, uint32_t outputs, const float *matrix,
                                    float *change, uint32_t context, float step_size);
metarl_status metarl_store_change(const metarl_robot *robot, const float *change, uint32_t count, uint32_t offset);
metarl_status metarl_check_room(const int16_t *places, const int16_t *added, uint16_t channels, uint16_t capacity);
void metarl_merge(float *change, const float *added, uint32_t count);
void metarl_merge_rows(float *change, int16_t *places, const float *added, const int16_t *added_places,
                       uint16_t channels, uint16_t outputs);

#ifdef __cplusplus
}
#endif

#endif
