INSERT INTO kept (run, kind, path, kept, undone) VALUES (:run, :kind, :path, :kept, :undone);
