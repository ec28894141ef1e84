/* Files of NAME=value lines, as applications and compose files have them: .env. */
#include "base/mem.h"
#include "config/config_int.h"
#include <ctype.h>
#include <string.h>

char *env_file_value(const char *text, const char *name)
{
    size_t len = strlen(name);
    while (*text != '\0') {
        const char *end = text + strcspn(text, "\r\n");
        const char *p = text + strspn(text, " \t");
        if (str_starts(p, "export "))
            p += strlen("export ");
        if (strncmp(p, name, len) == 0 && p[len] == '=') {
            p += len + 1;
            char quote = *p == '"' || *p == '\'' ? *p++ : '\0';
            const char *stop = p;
            while (stop < end && (quote != '\0' ? *stop != quote : !isspace((unsigned char)*stop)))
                stop++;
            return str_ndup(p, (size_t)(stop - p));
        }
        text = end + strspn(end, "\r\n");
    }
    return NULL;
}
