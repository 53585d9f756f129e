/* Text files and the words in them. */
#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>
#include <stdint.h>

/* A whole file, to be freed, or NULL. */
char *text_read(const char *path);

/* Cuts white space, then one pair of quotes, from both ends, in place. */
char *trim(char *text);

/* False, and the number untouched, unless the text is one decimal number and nothing else. */
bool parse_number(const char *text, uint64_t *number);

#endif
