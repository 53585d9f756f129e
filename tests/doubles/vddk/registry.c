#include "registry.h"

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

static char *read_file(const char *path)
{
    FILE *stream = fopen(path, "re");
    if (!stream)
        return NULL;
    char *text = NULL;
    size_t size = 0;
    /* A file holds no NUL, so the "line" up to NUL is all of it. */
    ssize_t length = getdelim(&text, &size, '\0', stream);
    fclose(stream);
    if (length < 0) {
        free(text);
        return NULL;
    }
    return text;
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
    char *text = read_file(path);
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

/* Cuts white space, then one pair of quotes, from both ends, in place. */
static char *trim(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    char *end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1]))
        *--end = '\0';
    if (end - text >= 2 && *text == '"' && end[-1] == '"') {
        *--end = '\0';
        text++;
    }
    return text;
}

char *config_value(const char *file, const char *key)
{
    char *text = read_file(file), *found = NULL;
    for (char *rest = text, *line; !found && (line = strsep(&rest, "\n"));) {
        char *equals = strchr(line, '=');
        if (!equals)
            continue;
        *equals = '\0';
        if (strcmp(trim(line), key) == 0)
            found = strdup(trim(equals + 1));
    }
    free(text);
    return found;
}
