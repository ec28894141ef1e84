SELECT kind, path, kept, undone FROM kept WHERE run = :run ORDER BY id DESC;
