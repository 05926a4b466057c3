// import "progresskit/vue": both elements, and what templates have to know of them. For Vue 3.

import type { HTMLAttributes, PublicProps } from "vue";
import type { GroupStrings } from "./group.js";
import type { Job, Strings } from "./index.js";

interface Told {
  onProgress?: (event: CustomEvent<Job>) => void;
  onDone?: (event: CustomEvent<Job>) => void;
  onError?: (event: CustomEvent<{ reason: "refused" | "unknown" }>) => void;
}

type Element<Own> = new () => { $props: PublicProps & Omit<HTMLAttributes, keyof Told> & Told & Own };

declare module "vue" {
  interface GlobalComponents {
    "progress-bar": Element<{ src?: string; cancel?: boolean | ""; strings?: Partial<Strings> }>;
    "progress-group": Element<{ label?: string; open?: boolean | ""; cancel?: boolean | ""; strings?: Partial<GroupStrings> }>;
  }
}
