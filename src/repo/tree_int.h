/* How names are written in trees: as by Go's strconv.Quote, but without the quotes around. */
#ifndef SALVOR_REPO_TREE_INT_H
#define SALVOR_REPO_TREE_INT_H

#include "base/buf.h"

/* Go's os.FileMode: the bits beside the nine permissions. */
#define GO_MODE_DIR (UINT32_C(1) << 31)
#define GO_MODE_SYMLINK (UINT32_C(1) << 27)
#define GO_MODE_DEVICE (UINT32_C(1) << 26)
#define GO_MODE_PIPE (UINT32_C(1) << 25)
#define GO_MODE_SOCKET (UINT32_C(1) << 24)
#define GO_MODE_SETUID (UINT32_C(1) << 23)
#define GO_MODE_SETGID (UINT32_C(1) << 22)
#define GO_MODE_CHAR_DEVICE (UINT32_C(1) << 21)
#define GO_MODE_STICKY (UINT32_C(1) << 20)
#define GO_MODE_IRREGULAR (UINT32_C(1) << 19)

/* Appends `s` quoted. */
_warn_unused_ int quote(const char *s, size_t len, struct buf *out, struct err *e);
/* Takes the quoting off again and replaces `out` by the result. Accepts all that Go's
 * strconv.Unquote does between double quotes; ERR_CORRUPT for anything else. */
_warn_unused_ int unquote(const char *s, size_t len, struct buf *out, struct err *e);

#endif
