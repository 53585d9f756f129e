/* The VIX error codes that the stand-in returns, with VDDK's texts. */
#ifndef ERRORS_H
#define ERRORS_H

#include "vixdisklib.h"

enum {
    VIX_OK = 0,
    VIX_E_FAIL = 1,
    VIX_E_OUT_OF_MEMORY = 2,
    VIX_E_INVALID_ARG = 3,
    VIX_E_FILE_NOT_FOUND = 4,
    VIX_E_NOT_SUPPORTED = 6,
    VIX_E_FILE_ERROR = 7,
    VIX_E_FILE_ACCESS_ERROR = 13,
    VIX_E_HOST_USER_PERMISSIONS = 3014,
    VIX_E_VM_NOT_FOUND = 4000,
    VIX_E_SERVER_REFUSED = 14009,
    VIX_E_DISK_OUTOFRANGE = 16007,
    VIX_E_CANNOT_CONNECT_TO_HOST = 18000,
    VIX_ASYNC = 25000,
};

const char *error_text(VixError error);

#endif
