INSERT INTO run (kind, repository, resource, job, user, begun, detail,
                 host, boot, pid_space, pid, pid_start)
VALUES (:kind, :repository, :resource, :job, :user, :begun, :detail,
        :host, :boot, :pid_space, :pid, :pid_start);
