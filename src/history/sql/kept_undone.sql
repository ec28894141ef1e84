UPDATE kept SET undone = 1 WHERE run = :run AND (:kind IS NULL OR kind = :kind) AND path = :path;
