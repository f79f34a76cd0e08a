/* An example of a storage: an array in RAM. Replace it by your own for flash, FRAM or an SD card. */

#ifndef METARL_STORAGE_RAM_H
#define METARL_STORAGE_RAM_H

#include "metarl.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Returns a storage of these bytes, which must stay where they are. */
metarl_storage metarl_storage_in_ram(unsigned char *memory, uint32_t bytes);

#ifdef __cplusplus
}
#endif

#endif
