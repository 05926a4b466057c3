import os

import progresskit


def upload(client, path, bucket, key, id):
    with progresskit.observe(id, total=os.path.getsize(path), unit="B", cancellable=True) as job:
        client.upload_file(path, bucket, key, Callback=job.advance)


def download(client, bucket, key, path, id):
    size = client.head_object(Bucket=bucket, Key=key)["ContentLength"]
    with progresskit.observe(id, total=size, unit="B", cancellable=True) as job:
        client.download_file(bucket, key, path, Callback=job.advance)
