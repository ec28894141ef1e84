UPDATE kept SET undone = 1 WHERE run = :run AND path = :path;
