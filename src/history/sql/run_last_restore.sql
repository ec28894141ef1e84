SELECT id, kind, repository, resource, job, user, begun, ended, result, message, tree,
       bytes, bytes_new, bytes_stored, files, detail
FROM run
WHERE kind IN ('restore', 'rows')
  AND (:resource IS NULL OR resource = :resource)
  AND EXISTS (SELECT 1 FROM kept WHERE kept.run = run.id AND NOT kept.undone)
ORDER BY id DESC
LIMIT 1;
