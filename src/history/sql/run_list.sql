SELECT id, kind, repository, resource, job, user, begun, ended, result, message, tree,
       bytes, bytes_new, bytes_stored, files, detail
FROM run
WHERE (:kind IS NULL OR kind = :kind)
  AND (:repository IS NULL OR repository = :repository)
  AND (:resource IS NULL OR resource = :resource)
  AND (:result IS NULL OR result = :result)
ORDER BY id DESC
LIMIT :most;
