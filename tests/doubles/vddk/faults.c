#include "faults.h"

#include "errors.h"
#include "log.h"
#include "shared.h"
#include "text.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST 32 /* bits of Struck */

enum effect { NONE, ERROR, HANG, EXIT, FLIP };

struct fault {
    uint64_t at, length;
    uint64_t number, every, times; /* 0: not given */
    enum effect effect;
    VixError error;
};

struct count {
    _Atomic uint64_t met, struck;
};

static struct {
    unsigned known;
    struct fault list[MOST];
    struct shared shared;
    struct count *counts;
} faults;

/* --- reading the specification ------------------------------------------------------------------------- */

static const struct {
    const char *name;
    VixError error;
} errors[] = {
    { "EIO", VIX_E_FILE_ERROR },       { "ENOMEM", VIX_E_OUT_OF_MEMORY },
    { "EACCES", VIX_E_FILE_ACCESS_ERROR }, { "ENOENT", VIX_E_FILE_NOT_FOUND },
    { "EBUSY", VIX_E_SERVER_REFUSED },
};

static bool parse_error(const char *name, VixError *error)
{
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (strcmp(errors[i].name, name) == 0) {
            *error = errors[i].error;
            return true;
        }
    return parse_number(name, error) && *error != VIX_OK && *error != VIX_ASYNC;
}

static bool set_effect(struct fault *fault, enum effect effect)
{
    bool first = fault->effect == NONE;
    fault->effect = effect;
    return first;
}

/* One word of a fault, such as every=3; `value` is NULL where it has none. */
static bool set_word(struct fault *fault, const char *name, const char *value)
{
    if (!value)
        return (strcmp(name, "hang") == 0 && set_effect(fault, HANG)) ||
               (strcmp(name, "exit") == 0 && set_effect(fault, EXIT));
    if (strcmp(name, "error") == 0)
        return parse_error(value, &fault->error) && set_effect(fault, ERROR);
    if (strcmp(name, "flip") == 0) {
        fault->length = 1;
        return parse_number(value, &fault->at) && set_effect(fault, FLIP);
    }
    uint64_t number;
    if (!parse_number(value, &number))
        return false;
    if (strcmp(name, "at") == 0) {
        fault->at = number;
        fault->length = fault->length == UINT64_MAX ? 1 : fault->length;
        return true;
    }
    uint64_t *field = strcmp(name, "length") == 0   ? &fault->length
                      : strcmp(name, "number") == 0 ? &fault->number
                      : strcmp(name, "every") == 0  ? &fault->every
                      : strcmp(name, "times") == 0  ? &fault->times
                                                    : NULL;
    if (!field || number == 0)
        return false;
    *field = number;
    return true;
}

static bool parse_fault(char *text, struct fault *fault)
{
    *fault = (struct fault){ .length = UINT64_MAX };
    for (char *rest = text, *word; (word = strsep(&rest, ","));) {
        char *value = word;
        const char *name = trim(strsep(&value, "="));
        if (!set_word(fault, name, value ? trim(value) : NULL))
            return false;
    }
    return fault->effect != NONE && !(fault->number && fault->every);
}

static bool parse(const char *specification)
{
    char *text = strdup(specification);
    bool good = text != NULL;
    for (char *rest = text, *word; good && (word = strsep(&rest, ";"));)
        good = faults.known < MOST && parse_fault(word, &faults.list[faults.known++]);
    free(text);
    return good;
}

VixError faults_start(const struct settings *settings)
{
    faults.known = 0;
    if (settings->fault_read && !parse(settings->fault_read)) {
        complain("VixDiskLib: transferd.double.fault.read: cannot make sense of fault %u of %s", faults.known,
                 settings->fault_read);
        return VIX_E_INVALID_ARG;
    }
    VixError error = shared_open(&faults.shared, settings->faults, MOST * sizeof *faults.counts);
    faults.counts = faults.shared.memory;
    return error;
}

void faults_stop(void)
{
    shared_close(&faults.shared);
    faults.counts = NULL;
}

/* --- striking ------------------------------------------------------------------------------------------ */

static bool touches(const struct fault *fault, uint64_t offset, uint64_t length)
{
    return offset < fault->at ? fault->at - offset < length : offset - fault->at < fault->length;
}

static bool its_turn(const struct fault *fault, struct count *count)
{
    uint64_t met = atomic_fetch_add(&count->met, 1) + 1;
    if (fault->number && met != fault->number)
        return false;
    if (fault->every && met % fault->every != 0)
        return false;
    return atomic_fetch_add(&count->struck, 1) < fault->times || !fault->times;
}

Struck faults_strike(uint64_t offset, uint64_t length)
{
    Struck struck = 0;
    for (unsigned i = 0; i < faults.known; i++) {
        const struct fault *fault = &faults.list[i];
        if (!touches(fault, offset, length) || !its_turn(fault, &faults.counts[i]))
            continue;
        if (fault->effect == EXIT)
            _exit(EXIT_FAILURE);
        struck |= UINT32_C(1) << i;
    }
    return struck;
}

/* The first fault with this effect among those that struck, or NULL. */
static const struct fault *first(Struck struck, enum effect effect)
{
    for (; struck; struck &= struck - 1) {
        const struct fault *fault = &faults.list[__builtin_ctz(struck)];
        if (fault->effect == effect)
            return fault;
    }
    return NULL;
}

bool faults_hang(Struck struck)
{
    return first(struck, HANG);
}

VixError faults_error(Struck struck)
{
    const struct fault *fault = first(struck, ERROR);
    return fault ? fault->error : VIX_OK;
}

void faults_spoil(Struck struck, uint64_t offset, uint64_t length, unsigned char *buffer)
{
    for (; struck; struck &= struck - 1) {
        const struct fault *fault = &faults.list[__builtin_ctz(struck)];
        if (fault->effect == FLIP && fault->at >= offset && fault->at - offset < length)
            buffer[fault->at - offset] ^= 1;
    }
}
