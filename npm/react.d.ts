// import "progresskit/react": both elements, and what JSX has to know of them. For React 19.

import type { DetailedHTMLProps, HTMLAttributes } from "react";
import type { GroupStrings, ProgressGroup } from "./group.js";
import type { Job, ProgressBar, Strings } from "./index.js";

interface Told {
  onprogress?: (event: CustomEvent<Job>) => void;
  ondone?: (event: CustomEvent<Job>) => void;
  onerror?: (event: CustomEvent<{ reason: "refused" | "unknown" }>) => void;
}

type Props<Element, Own> = DetailedHTMLProps<HTMLAttributes<Element>, Element> & Told & Own;

declare module "react" {
  namespace JSX {
    interface IntrinsicElements {
      "progress-bar": Props<ProgressBar, { src?: string; cancel?: boolean; strings?: Partial<Strings> }>;
      "progress-group": Props<ProgressGroup, { label?: string; open?: boolean; cancel?: boolean; strings?: Partial<GroupStrings> }>;
    }
  }
}
