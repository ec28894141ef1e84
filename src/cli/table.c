/* Tables for people: columns as wide as their widest cell, two blanks between. */
#include "base/mem.h"
#include "cli/cli.h"

#include <string.h>

void table_init(struct table *t, const char *const *title, size_t columns)
{
    *t = (struct table){.title = title, .columns = columns};
}

void table_add(struct table *t, const char *text)
{
    struct buf safe = BUF_INIT(BUF_TEXT);
    if (text == NULL || *text == '\0')
        text = "-";
    text_printable(text, strlen(text), &safe);
    str_list_add_take(&t->cell, buf_take(&safe));
}

/* How many columns of a terminal it takes, were all characters narrow ones. */
static size_t width_of(const char *s)
{
    size_t n = 0;
    for (; *s != '\0'; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static void print_cell(FILE *f, const char *text, size_t width, bool right, bool last)
{
    size_t pad = width - width_of(text);
    if (right)
        fprintf(f, "%*s%s", (int)pad, "", text);
    else
        fprintf(f, "%s%*s", text, last ? 0 : (int)pad, "");
    fputs(last ? "\n" : "  ", f);
}

void table_print(const struct table *t, FILE *f)
{
    _cleanup_free_ size_t *width = mem_array(t->columns, sizeof *width);
    for (size_t c = 0; c < t->columns; c++) {
        width[c] = width_of(t->title[c] + (t->title[c][0] == '>'));
        for (size_t i = c; i < t->cell.n; i += t->columns)
            if (width_of(t->cell.s[i]) > width[c])
                width[c] = width_of(t->cell.s[i]);
    }
    for (size_t c = 0; c < t->columns; c++) {
        bool right = t->title[c][0] == '>';
        print_cell(f, t->title[c] + right, width[c], right, c + 1 == t->columns);
    }
    for (size_t i = 0; i < t->cell.n; i++) {
        size_t c = i % t->columns;
        print_cell(f, t->cell.s[i], width[c], t->title[c][0] == '>', c + 1 == t->columns);
    }
}

void table_release(struct table *t)
{
    str_list_release(&t->cell);
}
