/* Adapting with nothing stored: sums that the advantages follow from when the last episode has ended.

The gradient is the sum over time of s_t A_t, with the scores s_t of the actions. With the features phi of the linear
baseline and its weights w, phi = 0 after the end of an episode, k = gamma lambda and

    z_u = [phi_u - gamma phi_(u+1), reward_u, 1 - k (at the end 1)],    v = [-w, 1, -mean of A],

A_t - mean = v . sum over u >= t of k^(u-t) z_u. With the eligibility e_u = k e_(u-1) + s_u, the gradient is the sum over
j of v_j times the sum over u of e_u z_u[j]. If lambda is 1, the constant feature is the last column. */

#include "metarl_internal.h"

#include <math.h>

/* z of the step before, complete now that the features of the next one are known */
void metarl_leave(const metarl_robot *robot, const double *features, double *last, uint32_t columns, double gae_lambda)
{
    const double discount = robot->controller->discount;
    const uint32_t count = metarl_feature_count(robot->controller);
    uint32_t index;
    for (index = 0; index < count; index++) {
        last[index] -= discount * features[index];
    }
    if (columns > count + 1u) {
        last[columns - 1u] -= discount * gae_lambda;
    }
}

/* z of the step in work as if it were the last of its episode */
metarl_status metarl_hold(const metarl_robot *robot, const double *features, double *last, uint32_t columns)
{
    const metarl_controller *controller = robot->controller;
    const uint32_t count = metarl_feature_count(controller);
    float reward = 0.0f;
    const metarl_status status =
        metarl_read_row(robot, 0, metarl_reward_place(controller), &reward, (uint32_t)sizeof reward);
    uint32_t index;
    for (index = 0; index < columns; index++) {
        last[index] = index < count ? features[index] : index == count ? (double)reward : 1.0;
    }
    return status;
}

/* Adds what z changes of the second moments of all x_t = sum of k^(u-t) z_u; c, and n behind it, are the sums over t of
k^(u-t) x_t and of k^(2u-2t). */
void metarl_add_moments(const metarl_robot *robot, const double *z, double *c, double *moments, uint32_t columns,
                        double gae_lambda)
{
    const double decay = robot->controller->discount * gae_lambda, n = c[columns];
    uint32_t row, column;
    for (row = 0; row < columns; row++) {
        const double value = z[row], sum = c[row] + n * value;
        for (column = 0; column <= row; column++) {
            *moments++ += c[column] * value + sum * z[column];
        }
    }
    for (row = 0; row < columns; row++) {
        c[row] = decay * (c[row] + n * z[row]);
    }
    c[columns] = decay * decay * n + 1.0;
}

/* Adds the eligibility times each column of z to the sums behind it, and lets it decay. */
void metarl_add_eligible(const metarl_robot *robot, float *eligibility, const double *z, uint32_t count,
                         uint32_t columns, double gae_lambda)
{
    const float decay = (float)(robot->controller->discount * gae_lambda);
    float *sums = eligibility;
    uint32_t index;
    for (; columns > 0; columns--) {
        sums += count;
        metarl_add_scaled(sums, eligibility, (float)*z++, count);
    }
    for (index = 0; index < count; index++) {
        eligibility[index] *= decay;
    }
}

/* The rewards: count, mean, squared deviations; sum of squared returns, and two numbers that it follows from, of the
episode in work */

void metarl_begin_rewards(double *rewards) { rewards[4] = rewards[5] = 0.0; }

metarl_status metarl_add_reward(const metarl_robot *robot, double *rewards, double *totals)
{
    const double discount = robot->controller->discount;
    float read = 0.0f;
    const metarl_status status =
        metarl_read_row(robot, 0, metarl_reward_place(robot->controller), &read, (uint32_t)sizeof read);
    const double reward = (double)read, deviation = reward - rewards[1];
    rewards[0] += 1.0;
    rewards[1] += deviation / rewards[0];
    rewards[2] += deviation * (reward - rewards[1]);
    rewards[5] = discount * discount * rewards[5] + 1.0;
    rewards[3] += (2.0 * rewards[4] + rewards[5] * reward) * reward;
    rewards[4] = discount * (rewards[4] + rewards[5] * reward);
    totals[robot->steps] += reward;
    return status;
}

/* Whether all actions were rewarded alike; the totals by time step become returns. */
static int are_alike(const metarl_robot *robot, const double *rewards, double *totals)
{
    double energy = rewards[3], differences = energy, following = 0.0;
    uint32_t time = robot->controller->horizon;
    if (robot->episodes == 1) {
        energy = rewards[2] + rewards[0] * rewards[1] * rewards[1];
        return rewards[2] <= METARL_MIN_SPREAD * METARL_MIN_SPREAD * energy;
    }
    while (time-- > 0) {
        following = totals[time] + robot->controller->discount * following;
        differences -= following * following / (double)robot->episodes;
    }
    return differences <= METARL_MIN_SPREAD * METARL_MIN_SPREAD * energy;
}

static double element(const double *moments, uint32_t row, uint32_t column)
{
    return row < column ? moments[column * (column + 1u) / 2u + row] : moments[row * (row + 1u) / 2u + column];
}

/* v divided by the deviation of the advantages; zero where all actions were rewarded alike */
metarl_status metarl_mix(metarl_robot *robot, const double *weights, const double *moments, const double *rewards,
                         double *totals, double *mixture, uint32_t columns)
{
    const uint32_t count = metarl_feature_count(robot->controller);
    const uint32_t one = columns > count + 1u ? columns - 1u : count - 1u;
    double mean = 0.0, squares = 0.0, deviation;
    uint32_t row, column;
    for (row = 0; row < columns; row++) {
        mixture[row] = row < count ? -weights[row] : row == count ? 1.0 : 0.0;
        mean += element(moments, one, row) * mixture[row];
    }
    mixture[one] -= mean / element(moments, one, one);
    for (row = 0; row < columns; row++) {
        double sum = 0.0;
        for (column = 0; column < columns; column++) {
            sum += element(moments, row, column) * mixture[column];
        }
        squares += sum * mixture[row];
    }
    if (!isfinite(squares)) {
        return METARL_NOT_FINITE;
    }
    deviation = squares > 0.0 ? sqrt(squares / element(moments, one, one)) : 0.0;
    deviation = deviation > METARL_SMALLEST_DEVIATION ? deviation : METARL_SMALLEST_DEVIATION;
    if (are_alike(robot, rewards, totals)) {
        deviation = (double)INFINITY;
    }
    for (row = 0; row < columns; row++) {
        mixture[row] /= deviation;
    }
    metarl_open_gate(robot);
    return METARL_OK;
}

/* The gradient takes the place of the eligibility. */
void metarl_combine(float *eligibility, const double *mixture, uint32_t count, uint32_t columns)
{
    uint32_t index, column;
    for (index = 0; index < count; index++) {
        double sum = 0.0;
        for (column = 0; column < columns; column++) {
            sum += mixture[column] * (double)eligibility[(column + 1u) * count + index];
        }
        eligibility[index] = (float)sum;
    }
}
