#include "log.h"

#include <stddef.h>

static LogFunction *debug_log, *warn_log;

void log_to(LogFunction *debug, LogFunction *warn)
{
    debug_log = debug;
    warn_log = warn;
}

void say(const char *format, ...)
{
    if (!debug_log)
        return;
    va_list arguments;
    va_start(arguments, format);
    debug_log(format, arguments);
    va_end(arguments);
}

void complain(const char *format, ...)
{
    if (!warn_log)
        return;
    va_list arguments;
    va_start(arguments, format);
    warn_log(format, arguments);
    va_end(arguments);
}
