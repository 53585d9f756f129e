/* VDDK's log. nbdkit shows what is said only with -v, and what is complained of always, as an error. */
#ifndef LOG_H
#define LOG_H

#include "vixdisklib.h"

void log_to(LogFunction *debug, LogFunction *warn); /* NULL: nowhere */

__attribute__((format(printf, 1, 2))) void say(const char *format, ...);
__attribute__((format(printf, 1, 2))) void complain(const char *format, ...);

#endif
