/* Reads a tree from standard input, and writes it as salvor would to standard output. */
#include "base/mem.h"
#include "repo/tree.h"

static int rewrite(struct err *e)
{
    _cleanup_(buf_release) struct buf in = BUF_INIT(BUF_JSON);
    size_t got;
    do {
        int rc = buf_reserve(&in, 1 << 16, e);
        if (rc != 0)
            return rc;
        got = fread(in.data + in.len, 1, 1 << 16, stdin);
        in.len += got;
    } while (got > 0);

    _cleanup_(tree_release) struct tree t = {0};
    _cleanup_(tree_writer_release) struct tree_writer w;
    tree_writer_init(&w);
    int rc = tree_parse(in.data, in.len, &t, e);
    for (size_t i = 0; rc == 0 && i < t.n; i++)
        rc = tree_writer_add(&w, &t.node[i], e);
    if (rc == 0)
        rc = tree_writer_end(&w, e);
    if (rc == 0 && fwrite(w.json.data, 1, w.json.len, stdout) != w.json.len)
        rc = err_set(e, ERR_IO, "cannot write to standard output");
    return rc;
}

int main(void)
{
    struct err e = ERR_INIT;
    if (rewrite(&e) == 0)
        return 0;
    (void)fprintf(stderr, "tree_rewrite: %s\n", e.msg);
    return 1;
}
