#include "metarl_storage_ram.h"

#include <string.h>

static int read_ram(void *user, uint32_t offset, void *data, uint32_t bytes)
{
    memcpy(data, (const unsigned char *)user + offset, bytes);
    return 0;
}

static int write_ram(void *user, uint32_t offset, const void *data, uint32_t bytes)
{
    memcpy((unsigned char *)user + offset, data, bytes);
    return 0;
}

metarl_storage metarl_storage_in_ram(unsigned char *memory, uint32_t bytes)
{
    metarl_storage storage;
    storage.user = memory;
    storage.bytes = bytes;
    storage.read = read_ram;
    storage.write = write_ram;
    storage.memory = memory;
    return storage;
}
