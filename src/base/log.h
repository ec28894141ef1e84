/* Notices to the person at standard error (or the journal), one line each. A notice is not an
 * error: errors travel in struct err. Thread-safe; a progress bar that is on the terminal is lifted
 * meanwhile. */
#ifndef SALVOR_BASE_LOG_H
#define SALVOR_BASE_LOG_H

#include "base/cleanup.h"
#include <stdbool.h>

enum log_level { LOG_ERROR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG };

void log_set_level(enum log_level most); /* default LOG_NOTICE */
/* Called before and after a line is written, with lifted = true and false; NULL to remove. */
void log_set_lift(void (*lift)(bool lifted, void *arg), void *arg);
void log_line(enum log_level level, const char *fmt, ...) _printf_(2, 3);
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_notice(...) log_line(LOG_NOTICE, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

#endif
