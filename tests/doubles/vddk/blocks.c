#include "blocks.h"

#include "errors.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* Adds [from, to) in sectors; joins the last block where they touch or overlap. */
static VixError add(struct block_list **list, uint64_t from, uint64_t to)
{
    struct block_list *l = *list;
    struct block *last = l->count > 0 ? &l->blocks[l->count - 1] : NULL;
    if (last && from <= last->offset + last->length) {
        if (to > last->offset + last->length)
            last->length = to - last->offset;
        return VIX_OK;
    }
    l = realloc(l, sizeof *l + (l->count + 1) * sizeof *l->blocks);
    if (!l)
        return VIX_E_OUT_OF_MEMORY;
    l->blocks[l->count++] = (struct block){ .offset = from, .length = to - from };
    *list = l;
    return VIX_OK;
}

static VixError scan(int fd, uint64_t start, uint64_t end, uint64_t chunk, struct block_list **list)
{
    off_t position = start * SECTOR;
    while ((uint64_t)position < end * SECTOR) {
        off_t data = lseek(fd, position, SEEK_DATA);
        if (data < 0) /* ENXIO: a hole up to the end of the file */
            return errno == ENXIO ? VIX_OK : VIX_E_FILE_ERROR;
        if ((uint64_t)data >= end * SECTOR)
            return VIX_OK;
        off_t hole = lseek(fd, data, SEEK_HOLE);
        if (hole < 0)
            return VIX_E_FILE_ERROR;
        /* Outwards to whole chunks; start and end are on chunks too, so only the upper side can leave. */
        uint64_t bytes = chunk * SECTOR;
        uint64_t from = data / bytes * chunk;
        uint64_t to = (hole + bytes - 1) / bytes * chunk;
        VixError error = add(list, from, to < end ? to : end);
        if (error)
            return error;
        position = to * SECTOR;
    }
    return VIX_OK;
}

VixError blocks_allocated(int fd, uint64_t capacity, uint64_t start, uint64_t count, uint64_t chunk,
                          struct block_list **list)
{
    if (chunk < MIN_CHUNK || chunk % MIN_CHUNK != 0 || start % chunk != 0 || count % chunk != 0 ||
        count == 0 || count / chunk > MAX_CHUNKS || start > capacity || count > capacity - start)
        return VIX_E_INVALID_ARG;
    *list = calloc(1, sizeof **list);
    if (!*list)
        return VIX_E_OUT_OF_MEMORY;
    VixError error = scan(fd, start, start + count, chunk, list);
    if (error) {
        free(*list);
        *list = NULL;
    }
    return error;
}
