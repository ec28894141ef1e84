/* salvor: the command line. */
#include "salvor_version.h"
#include <stdio.h>

int main(void)
{
    printf("salvor %s\n", SALVOR_VERSION);
    return 0;
}
