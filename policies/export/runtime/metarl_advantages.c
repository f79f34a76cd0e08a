/* The advantages: a linear baseline by normal equations in double precision, and generalized advantage estimation. */

#include "metarl_internal.h"

#include <math.h>
#include <string.h>

#define RIDGE  1e-5 /* the first ridge of the normal equations; RIDGES are tried, each ten times the one before */
#define RIDGES 6
#define LARGEST_GATE       3.0f

static double dot_double(const double *a, const double *b, uint32_t count)
{
    double sum = 0.0;
    for (; count > 0; count--) {
        sum += *a++ * *b++;
    }
    return sum;
}

uint32_t metarl_feature_count(const metarl_controller *controller) { return 2u * controller->regressed + 4u; }

/* Completes the features [o, o^2, t, t^2, t^3, 1] of the baseline, or those of time alone, t in hundreds of steps. */
void metarl_complete_features(const metarl_controller *controller, double *features, uint32_t time)
{
    const double hundreds = (double)time / 100.0;
    uint32_t width = controller->regressed, index;
    for (index = 0; index < width; index++) {
        features[width + index] = features[index] * features[index];
    }
    features += 2 * width;
    features[0] = hundreds;
    features[1] = hundreds * hundreds;
    features[2] = hundreds * hundreds * hundreds;
    features[3] = 1.0;
}

/* Reads the features and the reward of a time step of the episode in work. */
static metarl_status read_features(const metarl_robot *robot, uint32_t time, double *features, float *reward)
{
    const metarl_controller *controller = robot->controller;
    /* The floats lie where the squares will be, which are written when all floats have been read. */
    unsigned char *memory = (unsigned char *)(features + controller->regressed);
    metarl_status status = METARL_OK;
    float value;
    uint16_t index;
    if (controller->regressed > 0) {
        status = metarl_read_observation(robot, robot->row + time, memory);
    }
    if (status == METARL_OK) {
        status = metarl_read_row(robot, robot->row + time, metarl_reward_place(controller), reward, sizeof *reward);
    }
    if (status != METARL_OK) {
        return status;
    }
    for (index = 0; index < controller->regressed; index++) {
        memcpy(&value, memory + 4u * index, sizeof value);
        features[index] = (double)value;
    }
    metarl_complete_features(controller, features, time);
    return status;
}

/* Adds a time step with these features to the normal equations. A reward counts in the returns of all earlier steps,
whose discounted features are the trace. The Gram matrix is a lower triangle, row by row. */
void metarl_add_step(metarl_robot *robot, const double *features, double reward)
{
    const metarl_controller *controller = robot->controller;
    const metarl_program *program = &controller->programs[robot->taken];
    double *trace = metarl_doubles_at(robot, program->trace), *gram = metarl_doubles_at(robot, program->gram);
    double *target = metarl_doubles_at(robot, program->target);
    const uint32_t count = metarl_feature_count(controller);
    uint32_t row, column;
    for (row = 0; row < count; row++) {
        for (column = 0; column <= row; column++) {
            *gram++ += features[row] * features[column];
        }
        trace[row] = controller->discount * trace[row] + features[row];
        target[row] += reward * trace[row];
    }
}

metarl_status metarl_add_normal_equations(metarl_robot *robot, double *features)
{
    float reward = 0.0f;
    const metarl_status status = read_features(robot, robot->start, features, &reward);
    if (status == METARL_OK) {
        metarl_add_step(robot, features, (double)reward);
    }
    return status;
}

static double *row_of(double *triangle, uint32_t row) { return triangle + row * (row + 1) / 2; }

/* Replaces A by L with L L^T = A + ridge I, column by column; returns the columns done before a pivot fails. */
static uint32_t factorize(double *gram, uint32_t count, double ridge)
{
    uint32_t column, row;
    for (column = 0; column < count; column++) {
        double *of_column = row_of(gram, column);
        const double pivot = of_column[column] + ridge - dot_double(of_column, of_column, column);
        if (!(pivot > 0.0 && isfinite(pivot))) {
            return column;
        }
        of_column[column] = sqrt(pivot);
        for (row = column + 1; row < count; row++) {
            double *of_row = row_of(gram, row);
            of_row[column] = (of_row[column] - dot_double(of_row, of_column, column)) / of_column[column];
        }
    }
    return count;
}

/* Undoes the factorization of the first columns, up to rounding. */
static void multiply_out(double *gram, uint32_t count, uint32_t columns, double ridge)
{
    uint32_t row;
    while (columns-- > 0) {
        double *of_column = row_of(gram, columns);
        for (row = columns + 1; row < count; row++) {
            row_of(gram, row)[columns] = dot_double(row_of(gram, row), of_column, columns + 1);
        }
        of_column[columns] = dot_double(of_column, of_column, columns + 1) - ridge;
    }
}

void metarl_solve(const metarl_robot *robot, double *gram, double *target)
{
    const uint32_t count = metarl_feature_count(robot->controller);
    double ridge = RIDGE;
    uint32_t attempt, index, known = 0, column;
    for (attempt = 0; attempt < RIDGES && known < count; attempt++, ridge *= 10.0) {
        known = factorize(gram, count, ridge);
        if (known < count) {
            multiply_out(gram, count, known, ridge);
        }
    }
    for (index = 0; index < count; index++) {
        const double *row = row_of(gram, index);
        target[index] = known < count ? (double)NAN : (target[index] - dot_double(row, target, index)) / row[index];
    }
    for (index = count; index-- > 0;) {
        const double *row = row_of(gram, index);
        target[index] /= row[index];
        for (column = 0; column < index; column++) {
            target[column] -= target[index] * row[column];
        }
    }
}

/* An advantage and what the one before it follows from: the value and the return of its time step. */
typedef struct {
    double advantage, value, earned;
} backward_view;

static metarl_status step_back(const metarl_robot *robot, uint32_t time, const double *weights, double *features,
                               double gae_lambda, backward_view *view)
{
    const double discount = robot->controller->discount;
    float reward;
    double value;
    const metarl_status status = read_features(robot, time, features, &reward);
    if (status == METARL_OK) {
        value = dot_double(features, weights, metarl_feature_count(robot->controller));
        view->advantage = (double)reward + discount * view->value - value + discount * gae_lambda * view->advantage;
        view->value = value;
        view->earned = (double)reward + discount * view->earned;
    }
    return status;
}

metarl_status metarl_add_statistics(const metarl_robot *robot, const double *weights, double *features, double *moments,
                                    double *returns, double gae_lambda)
{
    backward_view view = {0.0, 0.0, 0.0};
    metarl_status status = METARL_OK;
    uint32_t time = robot->steps;
    while (time-- > 0 && status == METARL_OK) {
        double deviation;
        status = step_back(robot, time, weights, features, gae_lambda, &view);
        moments[0] += 1.0;
        deviation = view.advantage - moments[1];
        moments[1] += deviation / moments[0];
        moments[2] += deviation * (view.advantage - moments[1]);
        moments[3] += view.earned * view.earned;
        returns[time] += view.earned;
    }
    return status;
}

/* The mean and the squared deviations of the rewards of the only episode. */
static metarl_status spread_of_rewards(const metarl_robot *robot, double *energy, double *differences)
{
    double mean = 0.0, count = 0.0;
    metarl_status status = METARL_OK;
    uint32_t row;
    *energy = *differences = 0.0;
    for (row = 0; row < robot->recorded && status == METARL_OK; row++) {
        float reward = 0.0f;
        double deviation;
        status = metarl_read_row(robot, row, metarl_reward_place(robot->controller), &reward, sizeof reward);
        deviation = (double)reward - mean;
        count += 1.0;
        mean += deviation / count;
        *differences += deviation * ((double)reward - mean);
        *energy += (double)reward * (double)reward;
    }
    return status;
}

/* Finds what multiplies the step sizes, from the mean return. */
void metarl_open_gate(metarl_robot *robot)
{
    const float *gate = robot->controller->gate;
    if (gate) {
        const float *statistics = gate + 2u * robot->controller->inner_steps;
        const float mean_return = (float)(robot->rewards / (double)robot->episodes);
        const float standardized = statistics[1] > 0.0f ? (mean_return - statistics[0]) / statistics[1] : 0.0f;
        const float factor = gate[2u * robot->taken] + gate[2u * robot->taken + 1u] * standardized;
        robot->gate = factor < 0.0f ? 0.0f : factor > LARGEST_GATE ? LARGEST_GATE : factor;
    }
}

metarl_status metarl_find_scale(metarl_robot *robot, double *moments, const double *returns)
{
    double energy = moments[3];
    double differences = energy - dot_double(returns, returns, robot->controller->horizon) / (double)robot->episodes;
    double deviation = sqrt(moments[2] / moments[0]);
    if (!isfinite(moments[2])) {
        return METARL_NOT_FINITE;
    }
    if (robot->episodes == 1) {
        const metarl_status status = spread_of_rewards(robot, &energy, &differences);
        if (status != METARL_OK) {
            return status;
        }
    }
    deviation = deviation > METARL_SMALLEST_DEVIATION ? deviation : METARL_SMALLEST_DEVIATION;
    moments[4] = differences <= METARL_MIN_SPREAD * METARL_MIN_SPREAD * energy ? 0.0 : 1.0 / deviation;
    metarl_open_gate(robot);
    return METARL_OK;
}

metarl_status metarl_normalized_advantages(const metarl_robot *robot, const double *weights, double *features,
                                           const double *moments, float *advantages, double gae_lambda)
{
    backward_view view = {0.0, 0.0, 0.0};
    metarl_status status = METARL_OK;
    uint32_t time = robot->steps;
    while (time-- > 0 && status == METARL_OK) {
        status = step_back(robot, time, weights, features, gae_lambda, &view);
        advantages[time] = (float)((view.advantage - moments[1]) * moments[4]);
    }
    return status;
}
