/* What the vCenter double knows, read from its registry folder (tests/doubles/vcenter/registry.go).
 *
 * An entry is a file of `key value` lines, replaced by rename: each read sees one consistent state.
 */
#ifndef REGISTRY_H
#define REGISTRY_H

#include <stdbool.h>

struct entry; /* the text of one file */

/* NULL where there is no such entry; a name that is no moref or plain word counts as absent. */
struct entry *registry_read(const char *folder, const char *name);
void entry_free(struct entry *entry);

/* The value of the first such line, or NULL. It lives as long as the entry. */
const char *entry_value(const struct entry *entry, const char *key);

/* The file that holds the bytes of the disk at a datastore path, or NULL. */
const char *entry_disk(const struct entry *entry, const char *path);

#endif
