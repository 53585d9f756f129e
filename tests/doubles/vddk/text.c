#include "text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *text_read(const char *path)
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

char *trim(char *text)
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

bool parse_number(const char *text, uint64_t *number)
{
    if (!isdigit((unsigned char)*text)) /* strtoull takes signs and space */
        return false;
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (errno || *end)
        return false;
    *number = value;
    return true;
}
