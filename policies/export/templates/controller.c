/* The program of the controller; see ${prefix}_controller.h. */

#include "${prefix}_controller.h"

#include <stddef.h>
#include <string.h>

#include "${prefix}_tables.h"
#include "metarl_kernels.h"

#define AT(buffer) (robot->arena.buffer.at)
#define OFFSET(buffer) ((uint32_t)offsetof(${prefix}_robot, arena.buffer.at))
#define TRY(call)              \
    status = (call);           \
    if (status != METARL_OK) { \
        return status;         \
    }

static const metarl_layer ${prefix}_layers[$layer_count] = {
$layers};

$modules$stages
$programs
static const metarl_span ${prefix}_changes[$change_count] = {
$changes};

const metarl_controller ${prefix}_controller = {
$controller};
