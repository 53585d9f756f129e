#include "registry.h"

#include "text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct line {
    const char *key;
    const char *value;
};

struct entry {
    char *text;
    size_t count;
    struct line *lines;
};

/* Morefs come from the other side: letters, digits and hyphens, so that none leads out of the folder. */
static bool plain(const char *name)
{
    if (!*name)
        return false;
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '-')
            return false;
    return true;
}

static bool split(struct entry *entry)
{
    for (char *rest = entry->text, *line; (line = strsep(&rest, "\n"));) {
        char *space = strchr(line, ' ');
        if (!space)
            continue;
        *space = '\0';
        struct line *lines = realloc(entry->lines, (entry->count + 1) * sizeof *lines);
        if (!lines)
            return false;
        entry->lines = lines;
        entry->lines[entry->count++] = (struct line){ .key = line, .value = space + 1 };
    }
    return true;
}

struct entry *registry_read(const char *folder, const char *name)
{
    char *path;
    if (!plain(name) || asprintf(&path, "%s/%s", folder, name) < 0)
        return NULL;
    char *text = text_read(path);
    free(path);
    struct entry *entry = text ? calloc(1, sizeof *entry) : NULL;
    if (!entry) {
        free(text);
        return NULL;
    }
    entry->text = text;
    if (!split(entry)) {
        entry_free(entry);
        return NULL;
    }
    return entry;
}

void entry_free(struct entry *entry)
{
    if (!entry)
        return;
    free(entry->lines);
    free(entry->text);
    free(entry);
}

const char *entry_value(const struct entry *entry, const char *key)
{
    for (size_t i = 0; i < entry->count; i++)
        if (strcmp(entry->lines[i].key, key) == 0)
            return entry->lines[i].value;
    return NULL;
}

const char *entry_disk(const struct entry *entry, const char *path)
{
    for (size_t i = 0; i + 1 < entry->count; i++)
        if (strcmp(entry->lines[i].key, "path") == 0 && strcmp(entry->lines[i].value, path) == 0)
            return entry->lines[i + 1].value;
    return NULL;
}
