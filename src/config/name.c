/* Names of resources, and what is told from a path. */
#include "base/file.h"
#include "base/mem.h"
#include "config/config_int.h"
#include <ctype.h>
#include <fcntl.h>
#include <string.h>

static bool is_name_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool name_valid(const char *name)
{
    size_t len = strlen(name);
    if (len == 0 || len > NAME_MOST || !is_name_start(name[0]))
        return false;
    for (size_t i = 1; i < len; i++)
        if (!is_name_start(name[i]) && name[i] != '_' && name[i] != '-')
            return false;
    return true;
}

void name_sanitise(const char *text, size_t len, char out[NAME_MOST + 1])
{
    size_t n = 0;
    for (size_t i = 0; i < len && n < NAME_MOST; i++) {
        char c = (char)tolower((unsigned char)text[i]);
        if (is_name_start(c) || (n > 0 && c == '_'))
            out[n++] = c;
        else if (n > 0 && out[n - 1] != '-') /* what is not allowed becomes one dash */
            out[n++] = '-';
    }
    while (n > 0 && !is_name_start(out[n - 1]))
        n--;
    out[n] = '\0';
}

void name_from_path(const char *path, char out[NAME_MOST + 1])
{
    size_t len = strlen(path);
    while (len > 0 && path[len - 1] == '/')
        len--;
    size_t start = len;
    while (start > 0 && path[start - 1] != '/')
        start--;
    /* The dot of ".env" begins a name; only a later one begins an ending. */
    size_t end = len;
    while (end > start && path[end - 1] != '.')
        end--;
    if (end <= start + 1)
        end = len + 1;
    name_sanitise(path + start, end - 1 - start, out);
}

char *glob_escape(const char *text)
{
    char *out = mem_alloc(2 * strlen(text) + 1), *to = out;
    for (; *text != '\0'; text++) {
        if (strchr("*?[\\", *text) != NULL)
            *to++ = '\\';
        *to++ = *text;
    }
    *to = '\0';
    return out;
}

bool file_is_sqlite(const char *path)
{
    static const char magic[16] = "SQLite format 3";
    char head[sizeof magic];
    size_t got = 0;
    struct err ignored;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    return fd >= 0 && fd_pread_all(fd, head, sizeof head, 0, &got, path, &ignored) == 0 &&
           got == sizeof head && memcmp(head, magic, sizeof head) == 0;
}
