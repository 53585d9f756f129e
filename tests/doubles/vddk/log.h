/* VDDK's debug log, which nbdkit shows with -v. */
#ifndef LOG_H
#define LOG_H

#include "vixdisklib.h"

void log_to(LogFunction *function); /* NULL: nowhere */

__attribute__((format(printf, 1, 2))) void say(const char *format, ...);

#endif
