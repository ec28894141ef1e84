/* The wish to stop, as a signal handler leaves it. */
#include "base/work.h"

atomic_int cancel_requested;

int cancel_check(struct err *e)
{
    if (atomic_load_explicit(&cancel_requested, memory_order_relaxed) == 0)
        return 0;
    return err_set(e, ERR_CANCELLED, "interrupted");
}
