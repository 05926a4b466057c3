<?php
// The checksums of some files, as a job that a page shows: php report.php ADDRESS FILE...

/** Reports one run of a job. */
class Job
{
    private int $seq = 0;
    private string $run = '';

    public function __construct(private string $address)
    {
    }

    /** Send values; return the record of the job. */
    public function report(array $values): array
    {
        $this->seq++;
        for ($pause = 1; ; $pause = min(2 * $pause, 30)) {
            $http_response_header = [];
            $body = @file_get_contents($this->address, false, stream_context_create(['http' => [
                'method' => 'PUT',
                'header' => ['X-Progresskit: 1', "Progresskit-Seq: $this->seq", ...array_filter([$this->run])],
                'content' => json_encode((object) $values),
                'ignore_errors' => true,
            ]]));
            $status = (int) substr($http_response_header[0] ?? '', 9, 3);
            if ($status === 200 || $status === 201) {
                $this->run = current(preg_grep('/^Progresskit-Run:/i', $http_response_header));
                return json_decode($body, true);
            }
            if ($status && $status < 500) {
                throw new RuntimeException("$status: $body");
            }
            sleep($pause); // the same report again: the site or its store is away
        }
    }
}

[, $address] = $argv;
$files = array_slice($argv, 2);
$job = new Job($address);
$job->report(['total' => count($files), 'unit' => 'files', 'description' => 'Checksums']);
foreach ($files as $index => $file) {
    $checksum = @hash_file('sha256', $file);
    if ($checksum === false) {
        $job->report(['state' => 'failed', 'error' => 'A file cannot be read']);
        exit(1);
    }
    echo "$checksum $file\n";
    $record = $job->report(['current' => $index + 1]);
    if ($record['cancel_requested']) {
        $job->report(['state' => 'cancelled']);
        exit;
    }
}
$job->report(['state' => 'succeeded']);
