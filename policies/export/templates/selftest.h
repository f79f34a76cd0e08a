/* Examples that a board must answer as Python does. */

#ifndef ${PREFIX}_SELFTEST_H
#define ${PREFIX}_SELFTEST_H

#include "${prefix}_controller.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ${PREFIX}_TOLERANCE ${tolerance}f

/* Acts, adapts and acts again, and writes the largest difference of an action; more than the tolerance is an error of
the compiler or the board. The robot starts anew before and afterwards. */
metarl_status ${prefix}_selftest(${prefix}_robot *robot, const metarl_storage *storage, float *difference);

#ifdef __cplusplus
}
#endif

#endif
