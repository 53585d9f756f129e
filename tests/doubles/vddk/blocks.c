#include "blocks.h"

#include "errors.h"
#include "log.h"
#include "text.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST_HIDDEN 32

static struct {
    unsigned count;
    struct block list[MOST_HIDDEN]; /* sectors */
} hidden;

/* --- hiding -------------------------------------------------------------------------------------------- */

static bool parse_chunks(const char *text, uint64_t *sectors)
{
    uint64_t bytes;
    if (!text || !parse_number(text, &bytes) || bytes % (MIN_CHUNK * SECTOR) != 0)
        return false;
    *sectors = bytes / SECTOR;
    return true;
}

static bool parse_hidden(char *text)
{
    struct block *block = &hidden.list[hidden.count];
    if (hidden.count == MOST_HIDDEN || strcmp(strsep(&text, ":"), "hide") != 0)
        return false;
    const char *offset = strsep(&text, ":"), *length = strsep(&text, ":");
    hidden.count++;
    return !text && parse_chunks(offset, &block->offset) && parse_chunks(length, &block->length);
}

VixError blocks_hide(const char *specification)
{
    hidden.count = 0;
    char *text = specification ? strdup(specification) : NULL;
    bool good = true;
    for (char *rest = text, *word; good && (word = strsep(&rest, ";"));)
        good = parse_hidden(word);
    free(text);
    if (good)
        return VIX_OK;
    complain("VixDiskLib: transferd.double.fault.blocks: cannot make sense of %s", specification);
    return VIX_E_INVALID_ARG;
}

/* --- finding ------------------------------------------------------------------------------------------- */

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

/* Adds what no hidden range covers, from the given one on, in order. */
static VixError add_visible(struct block_list **list, uint64_t from, uint64_t to, unsigned next)
{
    for (; next < hidden.count; next++) {
        uint64_t start = hidden.list[next].offset, end = start + hidden.list[next].length;
        if (end <= from || to <= start)
            continue;
        VixError error = from < start ? add_visible(list, from, start, next + 1) : VIX_OK;
        if (error || to <= end)
            return error;
        from = end;
    }
    return add(list, from, to);
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
        VixError error = add_visible(list, from, to < end ? to : end, 0);
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
