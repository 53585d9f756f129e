#include "errors.h"

#include <stddef.h>

static const struct {
    VixError error;
    const char *text;
} texts[] = {
    { VIX_OK, "The operation was successful" },
    { VIX_E_FAIL, "Unknown error" },
    { VIX_E_OUT_OF_MEMORY, "Memory allocation failed. Out of memory" },
    { VIX_E_INVALID_ARG, "One of the parameters was invalid" },
    { VIX_E_FILE_NOT_FOUND, "A file was not found" },
    { VIX_E_NOT_SUPPORTED, "The operation is not supported" },
    { VIX_E_FILE_ERROR, "A file access error occurred on the host or guest operating system" },
    { VIX_E_FILE_ACCESS_ERROR, "You do not have access rights to this file" },
    { VIX_E_HOST_USER_PERMISSIONS, "Insufficient permissions in the host operating system" },
    { VIX_E_VM_NOT_FOUND, "The virtual machine cannot be found" },
    { VIX_E_SERVER_REFUSED, "The server refused connection" },
    { VIX_E_DISK_OUTOFRANGE,
      "You have requested access to an area of the virtual disk that is out of bounds" },
    { VIX_E_CANNOT_CONNECT_TO_HOST, "Cannot connect to host" },
};

const char *error_text(VixError error)
{
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (texts[i].error == error)
            return texts[i].text;
    return "Unknown error";
}
