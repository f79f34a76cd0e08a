/* Runs the self-test where there is an operating system; its exit code is 0 if the self-test passes. */

#include "${prefix}_selftest.h"
#include "metarl_storage_ram.h"

static ${prefix}_robot robot;
static unsigned char memory[${PREFIX}_STORAGE_BYTES + 1u];

int main(void)
{
    const metarl_storage storage = metarl_storage_in_ram(memory, ${PREFIX}_STORAGE_BYTES);
    float difference;
    return ${prefix}_selftest(&robot, &storage, &difference) != METARL_OK || !(difference < ${PREFIX}_TOLERANCE);
}
