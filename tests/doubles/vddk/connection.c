#include "connection.h"

#include "errors.h"
#include "log.h"
#include "registry.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HTTPS_PORT 443

static bool same(const char *given, const char *expected)
{
    return given && expected && strcmp(given, expected) == 0;
}

/* The first of the modes asked for that exists here, to be freed, or NULL. */
static char *choose_transport(const char *modes)
{
    char *copy = strdup(modes ? modes : "nbdssl"), *found = NULL;
    for (char *rest = copy, *mode; !found && (mode = strsep(&rest, ":"));)
        if (same(mode, "nbdssl") || same(mode, "nbd"))
            found = strdup(mode);
    free(copy);
    return found;
}

static VixError log_in(const struct connect_params *params, const struct entry *server, bool *trusted)
{
    const char *port = entry_value(server, "port");
    bool here = same(params->server, entry_value(server, "host")) || same(params->server, "localhost");
    if (!here || !port || (params->port ? params->port : HTTPS_PORT) != strtoul(port, NULL, 10))
        return VIX_E_CANNOT_CONNECT_TO_HOST;
    const char *thumbprint = entry_value(server, "thumbprint");
    *trusted = params->thumbprint && thumbprint && strcasecmp(params->thumbprint, thumbprint) == 0;
    if (!*trusted) /* nobody logs in over an untrusted connection; see connection_open */
        return VIX_OK;
    if (params->credential_type != CREDENTIAL_PASSWORD)
        return VIX_E_NOT_SUPPORTED;
    if (!same(params->credentials.login.user, entry_value(server, "user")) ||
        !same(params->credentials.login.password, entry_value(server, "password"))) {
        say("VixDiskLibVim: Login failure. Cannot complete login due to an incorrect user name or password.");
        return VIX_E_HOST_USER_PERMISSIONS;
    }
    return VIX_OK;
}

static bool vm_exists(const char *registry, const char *moref)
{
    struct entry *vm = registry_read(registry, moref);
    bool exists = vm && entry_value(vm, "power");
    entry_free(vm);
    return exists;
}

void connection_free(struct connection *connection)
{
    free(connection->vm);
    free(connection->snapshot);
    free(connection->transport);
    free(connection);
}

VixError connection_make(const char *registry, const struct connect_params *params, bool read_only,
                         const char *snapshot, const char *transport_modes, struct connection **result)
{
    static const char prefix[] = "moref=";
    if (params->spec_type != 0 || !params->vmx_spec ||
        strncmp(params->vmx_spec, prefix, strlen(prefix)) != 0)
        return VIX_E_INVALID_ARG;
    struct entry *server = registry_read(registry, "server");
    bool trusted = false;
    VixError error = server ? log_in(params, server, &trusted) : VIX_E_CANNOT_CONNECT_TO_HOST;
    entry_free(server);
    if (error)
        return error;

    const char *moref = params->vmx_spec + strlen(prefix);
    if (trusted && !vm_exists(registry, moref))
        return VIX_E_VM_NOT_FOUND;
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection)
        return VIX_E_OUT_OF_MEMORY;
    *connection = (struct connection){
        .registry = registry,
        .vm = strdup(moref),
        .snapshot = snapshot && *snapshot ? strdup(snapshot) : NULL,
        .transport = choose_transport(transport_modes),
        .read_only = read_only,
        .trusted = trusted,
    };
    if (!connection->transport) {
        connection_free(connection);
        return VIX_E_NOT_SUPPORTED;
    }
    *result = connection;
    return VIX_OK;
}

/* Opens the file behind a disk of the connection's VM or snapshot. */
static VixError open_file(const struct connection *connection, const char *path, int *fd)
{
    const char *name = connection->snapshot ? connection->snapshot : connection->vm;
    struct entry *entry = registry_read(connection->registry, name);
    const char *file = entry ? entry_disk(entry, path) : NULL;
    VixError error = VIX_OK;
    if (!file || (connection->snapshot && !same(connection->vm, entry_value(entry, "vm"))))
        error = VIX_E_FILE_NOT_FOUND;
    else if (!connection->snapshot && same(entry_value(entry, "power"), "poweredOn"))
        error = VIX_E_FILE_ACCESS_ERROR; /* the running VM holds the lock on its base disk */
    else if ((*fd = open(file, O_RDONLY | O_CLOEXEC)) < 0)
        error = errno == ENOENT ? VIX_E_FILE_NOT_FOUND : VIX_E_FILE_ACCESS_ERROR;
    entry_free(entry);
    return error;
}

VixError connection_open(const struct connection *connection, const char *path, uint32_t flags, int *fd)
{
    /* VDDK meets an untrusted certificate only here, and says no more than "Unknown error":
     * nbdkit-vddk-plugin(1), "Error 1 (Unknown error) when opening a disk". */
    if (!connection->trusted) {
        say("VixDiskLibVim: SSL certificate thumbprint mismatch");
        return VIX_E_FAIL;
    }
    if (!connection->read_only && !(flags & OPEN_READ_ONLY))
        return VIX_E_FILE_ACCESS_ERROR; /* the double serves sources */
    return open_file(connection, path, fd);
}
