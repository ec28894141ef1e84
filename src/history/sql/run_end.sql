UPDATE run
SET repository = :repository, resource = :resource, job = :job, user = :user, begun = :begun,
    ended = :ended, result = :result, message = :message, tree = :tree, bytes = :bytes,
    bytes_new = :bytes_new, bytes_stored = :bytes_stored, files = :files, detail = :detail
WHERE id = :id;
