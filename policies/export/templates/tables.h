/* The constant tables of the controller. */

#ifndef ${PREFIX}_TABLES_H
#define ${PREFIX}_TABLES_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

$declarations

#ifdef __cplusplus
}
#endif

#endif
