#include "settings.h"

#include "errors.h"
#include "log.h"
#include "text.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define OURS "transferd.double."
#define NFC_AIO "vixDiskLib.nfcAio.Session."

enum kind { TEXT, NUMBER, SWITCH };

#define AT(field) offsetof(struct settings, field)

static const struct key {
    const char *name;
    enum kind kind;
    size_t at;
} known[] = {
    { OURS "state", TEXT, AT(state) },
    { OURS "latency_us", NUMBER, AT(latency_us) },
    { OURS "jitter_us", NUMBER, AT(jitter_us) },
    { OURS "seed", NUMBER, AT(seed) },
    { OURS "query_us", NUMBER, AT(query_us) },
    { OURS "window", SWITCH, AT(window) },
    { NFC_AIO "BufSizeIn64KB", NUMBER, AT(buffer_64k) },
    { NFC_AIO "BufCount", NUMBER, AT(buffers) },
    { OURS "host", TEXT, AT(host) },
    { OURS "bandwidth", NUMBER, AT(bandwidth) },
    { OURS "nfc_memory", NUMBER, AT(nfc_memory) },
    { OURS "sessions", NUMBER, AT(sessions) },
    { OURS "fault.read", TEXT, AT(fault_read) },
    { OURS "fault.blocks", TEXT, AT(fault_blocks) },
    { OURS "faults", TEXT, AT(faults) },
    { OURS "trace", TEXT, AT(trace) },
};

#define KNOWN (sizeof known / sizeof *known)

static const struct key *find(const char *name)
{
    for (size_t i = 0; i < KNOWN; i++)
        if (strcmp(known[i].name, name) == 0)
            return &known[i];
    return NULL;
}

static bool set_switch(const char *value, bool *on)
{
    *on = strcmp(value, "on") == 0;
    return *on || strcmp(value, "off") == 0;
}

static bool set_text(const char *value, char **text)
{
    free(*text);
    *text = strdup(value);
    return *text != NULL;
}

static bool set(struct settings *settings, const struct key *key, const char *value)
{
    void *field = (char *)settings + key->at;
    switch (key->kind) {
    case TEXT:
        return set_text(value, field);
    case NUMBER:
        return parse_number(value, field);
    case SWITCH:
        return set_switch(value, field);
    }
    return false;
}

/* One line of the file; false where it is one of ours and makes no sense. */
static bool take(struct settings *settings, char *line)
{
    char *equals = strchr(line, '=');
    if (!equals)
        return true;
    *equals = '\0';
    const char *name = trim(line), *value = trim(equals + 1);
    const struct key *key = find(name);
    if (key ? set(settings, key, value) : strncmp(name, OURS, strlen(OURS)) != 0)
        return true;
    complain("VixDiskLib: %s = %s: %s", name, value, key ? "no such value" : "the stand-in has no such key");
    return false;
}

VixError settings_read(struct settings *settings, const char *file)
{
    *settings = (struct settings){ .seed = 1, .buffer_64k = 1, .buffers = 4 };
    char *text = file ? text_read(file) : NULL;
    bool good = true;
    for (char *rest = text, *line; good && (line = strsep(&rest, "\n"));)
        good = take(settings, line);
    free(text);
    if (good && !settings->state)
        complain("VixDiskLib: " OURS "state is not set in the configuration file");
    if (good && settings->state)
        return VIX_OK;
    settings_free(settings);
    return VIX_E_INVALID_ARG;
}

void settings_free(struct settings *settings)
{
    for (size_t i = 0; i < KNOWN; i++)
        if (known[i].kind == TEXT)
            free(*(char **)((char *)settings + known[i].at));
    *settings = (struct settings){ 0 };
}
