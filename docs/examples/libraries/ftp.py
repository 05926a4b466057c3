import os

import progresskit


def upload(ftp, path, name, id):
    with progresskit.observe(id, total=os.path.getsize(path), unit="B") as job, open(path, "rb") as file:
        ftp.storbinary(f"STOR {name}", file, callback=lambda block: job.advance(len(block)))


def download(ftp, name, path, id):
    ftp.voidcmd("TYPE I")  # some servers name the size of a binary transfer only
    with progresskit.observe(id, total=ftp.size(name), unit="B") as job, open(path, "wb") as file:

        def take(block):
            file.write(block)
            job.advance(len(block))

        ftp.retrbinary(f"RETR {name}", take)
