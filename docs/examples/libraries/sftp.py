import progresskit


def upload(sftp, path, name, id):
    with progresskit.observe(id, unit="B") as job:
        sftp.put(path, name, callback=job.set_progress)


def download(sftp, name, path, id):
    with progresskit.observe(id, unit="B") as job:
        sftp.get(name, path, callback=job.set_progress)
