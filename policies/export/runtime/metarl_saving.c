/* Saving and restoring the change of the parameters: [magic, checksum, inner steps taken, CRC], then the change. */

#include "metarl_internal.h"

#include <string.h>

#define MAGIC 0x4c52544du /* "MTRL" */
#define PIECE 64u         /* bytes that are copied at a time */

static uint32_t crc_of(uint32_t crc, const unsigned char *data, uint32_t bytes)
{
    int bit;
    for (; bytes > 0; bytes--) {
        crc ^= *data++;
        for (bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1u)));
        }
    }
    return crc;
}

uint32_t metarl_saved_bytes(const metarl_robot *robot)
{
    const metarl_controller *controller = robot->controller;
    uint32_t bytes = 16, index;
    for (index = 0; index < controller->change_count; index++) {
        bytes += controller->changes[index].bytes;
    }
    return bytes;
}

metarl_status metarl_save(const metarl_robot *robot, const metarl_storage *target)
{
    const metarl_controller *controller = robot->controller;
    uint32_t header[4] = {MAGIC, controller->checksum, robot->taken, UINT32_MAX}, place = sizeof header, index;
    if (target->bytes < metarl_saved_bytes(robot)) {
        return METARL_FULL;
    }
    for (index = 0; index < controller->change_count; index++) {
        const metarl_span span = controller->changes[index];
        header[3] = crc_of(header[3], metarl_changes_of(robot) + span.offset, span.bytes);
    }
    if (target->write(target->user, 0, header, sizeof header) != 0) {
        return METARL_STORAGE;
    }
    for (index = 0; index < controller->change_count; index++) {
        const metarl_span span = controller->changes[index];
        if (target->write(target->user, place, metarl_changes_of(robot) + span.offset, span.bytes) != 0) {
            return METARL_STORAGE;
        }
        place += span.bytes;
    }
    return METARL_OK;
}

/* Checks what was saved, a few bytes at a time. */
static metarl_status check_saved(const metarl_robot *robot, const metarl_storage *source, uint32_t *header)
{
    unsigned char piece[PIECE];
    const uint32_t end = metarl_saved_bytes(robot);
    uint32_t place = 16, crc = UINT32_MAX, bytes;
    if (source->bytes < end || source->read(source->user, 0, header, 16) != 0) {
        return METARL_STORAGE;
    }
    if (header[0] != MAGIC || header[1] != robot->controller->checksum || header[2] > robot->controller->inner_steps) {
        return METARL_CORRUPT;
    }
    for (; place < end; place += bytes) {
        bytes = end - place < PIECE ? end - place : PIECE;
        if (source->read(source->user, place, piece, bytes) != 0) {
            return METARL_STORAGE;
        }
        crc = crc_of(crc, piece, bytes);
    }
    return crc == header[3] ? METARL_OK : METARL_CORRUPT;
}

/* Copies a span of the change from where it was saved to where the robot has it. */
static metarl_status copy_span(metarl_robot *robot, const metarl_storage *source, uint32_t place, metarl_span span)
{
    unsigned char piece[PIECE];
    uint32_t done = 0, bytes;
    for (; done < span.bytes; done += bytes) {
        bytes = span.bytes - done < PIECE ? span.bytes - done : PIECE;
        if (source->read(source->user, place + done, piece, bytes) != 0) {
            return METARL_STORAGE;
        }
        if (!robot->controller->stores_change) {
            memcpy(metarl_bytes_at(robot, span.offset + done), piece, bytes);
        } else if (robot->storage->write(robot->storage->user, span.offset + done, piece, bytes) != 0) {
            return METARL_STORAGE;
        }
    }
    return METARL_OK;
}

metarl_status metarl_restore(metarl_robot *robot, const metarl_storage *source)
{
    const metarl_controller *controller = robot->controller;
    uint32_t header[4], place = sizeof header, index;
    metarl_status status = check_saved(robot, source, header);
    if (status != METARL_OK) {
        return status;
    }
    metarl_forget(robot);
    for (index = 0; index < controller->change_count && status == METARL_OK; index++) {
        status = copy_span(robot, source, place, controller->changes[index]);
        place += controller->changes[index].bytes;
    }
    robot->taken = status == METARL_OK ? (uint16_t)header[2] : 0;
    return status;
}
