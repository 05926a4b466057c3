/** What is known of a job. */
export interface Job {
  id: string;
  kind: string | null;
  state: "pending" | "running" | "retrying" | "succeeded" | "failed" | "cancelled";
  done: boolean;
  stalled: boolean;
  cancel_requested: boolean;
  description: string | null;
  current: number;
  total: number | null;
  unit: string | null;
  /** 0 to 100; null while the total is not known. */
  percent: number | null;
  /** The steps of the job, in their order. */
  steps: Step[] | null;
  /** The number of the current step; `current`, `total` and `unit` are its count. */
  step: number | null;
  /** Units a second. */
  rate: number | null;
  /** Seconds, as of `updated_at`. */
  eta: number | null;
  meta: Record<string, unknown>;
  result: unknown;
  error: { type: string; message: string | null } | null;
  attempt: number;
  /** Of a job made of parts; `size` is null while it is not known. */
  parts: { size: number | null; succeeded: number; failed: number; cancelled: number; running: number } | null;
  parent: string | null;
  version: string;
  cursor: string;
  created_at: string | null;
  started_at: string | null;
  updated_at: string | null;
  finished_at: string | null;
  next_retry_at: string | null;
  part_of: string | null;
}

/** A stage of a job. */
export interface Step {
  name: string;
  /** Null for a step that was not declared: how many there are is not known then. */
  weight: number | null;
  state: "pending" | "running" | "succeeded" | "failed" | "cancelled" | "skipped";
  percent: number | null;
}

/** Every text; `{name}` is filled in. */
export interface Strings {
  connecting: string;
  pending: string;
  running: string;
  stalled: string;
  stalledSince: string;
  retrying: string;
  retryingIn: string;
  attempt: string;
  step: string;
  stepNamed: string;
  stepOf: string;
  succeeded: string;
  succeededIn: string;
  failed: string;
  cancelled: string;
  stoppedEarly: string;
  cancel: string;
  cancelling: string;
  cancelFailed: string;
  reconnecting: string;
  refused: string;
  unknown: string;
  some: string;
  someOf: string;
  nFailed: string;
  rate: string;
  ratePerMinute: string;
  ratePerHour: string;
  left: string;
  leftSeconds: string;
  leftMinute: string;
  leftHour: string;
  leftDay: string;
  spoken: string;
}

export const strings: Strings;

/** Replace texts on the whole page. */
export function configure(options: { strings?: Partial<Strings> }): void;

export interface ProgressBarEventMap extends HTMLElementEventMap {
  /** Each newer record, the final one included. */
  progress: ProgressEvent & CustomEvent<Job>;
  /** The final record, once. */
  done: CustomEvent<Job>;
  /** The key opens nothing, or nothing was reported of its job for 30 seconds. */
  error: ErrorEvent & CustomEvent<{ reason: "refused" | "unknown" }>;
}

/** `<progress-bar src="/progress/KEY/" cancel>` */
export class ProgressBar extends HTMLElement {
  /** The newest record. */
  readonly job: Job | null;
  /** The texts of this bar; those that are set replace the page's. */
  get strings(): Strings;
  set strings(some: Partial<Strings>);
  /** Ask for the job to be cancelled. */
  requestCancel(): Promise<void>;
  addEventListener<K extends keyof ProgressBarEventMap>(
    type: K,
    listener: (this: ProgressBar, event: ProgressBarEventMap[K]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject, options?: boolean | AddEventListenerOptions): void;
}

declare global {
  interface HTMLElementTagNameMap {
    "progress-bar": ProgressBar;
  }
}
