#include "log.h"

#include <stddef.h>

static LogFunction *debug_log;

void log_to(LogFunction *function)
{
    debug_log = function;
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
