// The checksums of some files, as a job that a page shows: node report.mjs ADDRESS FILE...
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { setTimeout } from "node:timers/promises";

/** Reports one run of a job. */
class Job {
  #headers = { "X-Progresskit": "1", "Progresskit-Seq": 0 };

  constructor(address) {
    this.address = address;
  }

  /** Send values; return the record of the job. */
  async report(values) {
    this.#headers["Progresskit-Seq"] += 1;
    for (let pause = 500; ; pause = Math.min(2 * pause, 30_000)) {
      const request = { method: "PUT", headers: this.#headers, body: JSON.stringify(values) };
      const answer = await fetch(this.address, request).catch(() => null);
      if (answer?.ok) {
        this.#headers["Progresskit-Run"] = answer.headers.get("Progresskit-Run");
        return answer.json();
      }
      if (answer && answer.status < 500) throw new Error(`${answer.status}: ${await answer.text()}`);
      await setTimeout(pause); // the same report again: the site or its store is away
    }
  }
}

const [address, ...files] = process.argv.slice(2);
const job = new Job(address);
await job.report({ total: files.length, unit: "files", description: "Checksums" });
for (const [index, file] of files.entries()) {
  try {
    console.log(createHash("sha256").update(await readFile(file)).digest("hex"), file);
  } catch (error) {
    await job.report({ state: "failed", error: "A file cannot be read" });
    throw error;
  }
  const record = await job.report({ current: index + 1 });
  if (record.cancel_requested) {
    await job.report({ state: "cancelled" });
    process.exit();
  }
}
await job.report({ state: "succeeded" });
