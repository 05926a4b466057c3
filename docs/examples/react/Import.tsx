import { useState } from "react";
import type { Job } from "progresskit";
import "progresskit/react";

export function Import({ address }: { address: string }) {
  const [job, setJob] = useState<Job>();
  return (
    <>
      <progress-bar src={address} cancel ondone={({ detail }) => setJob(detail)} />
      {job?.state === "succeeded" && <a href="/report/">See the report</a>}
    </>
  );
}
