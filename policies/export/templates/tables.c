#include "${prefix}_tables.h"

#include <math.h>

$definitions
