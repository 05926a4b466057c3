import { ProgressBar, type Job, type Strings } from "./index.js";

/** The texts that a group adds; `{n}` is filled in. */
export interface GroupStrings extends Strings {
  done: string;
  nRunning: string;
  nRetrying: string;
  nStalled: string;
  nCancelling: string;
  nCancelled: string;
  nWaiting: string;
  more: string;
}

/** How many of a group's jobs are in which state; `job.current` have succeeded. */
export interface Counts extends Record<string, unknown> {
  running: number;
  retrying: number;
  stalled: number;
  cancelling: number;
  /** Those whose key opens nothing are among them. */
  failed: number;
  cancelled: number;
  waiting: number;
}

/** All jobs as one. */
export interface GroupJob extends Job {
  meta: Counts;
}

/** `<progress-group label="Nightly import" open cancel>`, around any number of `<progress-bar>` */
export class ProgressGroup extends ProgressBar {
  readonly job: GroupJob | null;
  /** The bars inside, those of groups inside included. */
  readonly bars: ProgressBar[];
  get strings(): GroupStrings;
  set strings(some: Partial<GroupStrings>);
  /** Ask for each job that is not over to be cancelled. */
  requestCancel(): Promise<void>;
}

declare global {
  interface HTMLElementTagNameMap {
    "progress-group": ProgressGroup;
  }
}
