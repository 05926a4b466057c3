"""The types of the package for npm, read by the compiler of TypeScript as Vue extends it."""

from __future__ import annotations

import re
from pathlib import Path

from progresskit import testing
from tests.browser.packages import ROOT, complaints, lay_out

# What is marked as an error has to be one, or the compiler complains about the mark.
PLAIN = """
import { ProgressBar, configure, strings, type Job } from "progresskit";
import { ProgressGroup, type Counts } from "progresskit/group";

const bar = document.createElement("progress-bar");
const made: ProgressBar = bar;
bar.addEventListener("progress", ({ detail }) => { const job: Job = detail; void job.percent?.toFixed(); });
bar.addEventListener("done", ({ detail }) => { const state: Job["state"] = detail.state; void state; });
bar.addEventListener("error", ({ detail }) => { const reason: "refused" | "unknown" = detail.reason; void reason; });
bar.addEventListener("click", (event) => void event.clientX);
bar.strings = { running: "Läuft" };
const label: string = bar.strings.left + strings.rate;
void bar.requestCancel().then(() => label);
configure({ strings: { someOf: "{current} von {total}" } });
const state = document.querySelector("progress-bar")?.job?.state;
if (state === "failed") void made;

const group: ProgressGroup = document.createElement("progress-group");
const counts: Counts | undefined = group.job?.meta;
const running: number = counts?.running ?? 0;
group.strings = { nRunning: "{n} laufen" };
void group.bars.map((each) => each.job?.eta).concat(running);

// @ts-expect-error
if (state === "fialed") void made;
// @ts-expect-error
bar.strings = { runing: "Läuft" };
// @ts-expect-error
bar.addEventListener("error", ({ detail }) => void detail.state);
// @ts-expect-error
bar.job = null;
// @ts-expect-error
const length: number = group.job.meta.running;
"""

REACT = """
import "progresskit/react";
import { useRef } from "react";
import type { ProgressBar } from "progresskit";

export function Import({ address }: { address: string }) {
  const bar = useRef<ProgressBar>(null);
  return (
    <progress-group label="Nightly import" open onprogress={({ detail }) => console.log(detail.percent?.toFixed())}>
      <progress-bar ref={bar} key="a" id="a" className="wide" src={address} cancel strings={{ running: "Läuft" }}
        ondone={({ detail }) => console.log(detail.state === "failed" && detail.error?.type)}
        onerror={({ detail }) => console.log(detail.reason === "refused")} />
      <button onClick={() => void bar.current?.requestCancel()}>Stop</button>
    </progress-group>
  );
}

// @ts-expect-error
export const source = <progress-bar source="/progress/KEY/" />;
// @ts-expect-error
export const five = <progress-group label={5} />;
// @ts-expect-error
export const wrong = <progress-bar ondone={({ detail }) => detail.errors} />;
"""

VUE = """
<script setup lang="ts">
import "progresskit/vue";
import type { Job } from "progresskit";
defineProps<{ address: string }>();
const finish = ({ detail }: CustomEvent<Job>) => console.log(detail.state === "failed");
</script>

<template>
  <progress-group label="Nightly import" open>
    <progress-bar :src="address" cancel class="wide" @done="finish" @error="({ detail }) => detail.reason" />
    <!-- @vue-expect-error -->
    <progress-bar :src="5" />
    <!-- @vue-expect-error -->
    <progress-bar @done="({ detail }) => detail.reason" />
  </progress-group>
</template>
"""


def test_right_code_is_right_and_wrong_code_is_found(node_modules: Path, tmp_path: Path) -> None:
    lay_out(tmp_path, node_modules)
    sources = {"plain.ts": PLAIN, "react.tsx": REACT, "Import.vue": VUE}
    for name, source in sources.items():
        (tmp_path / name).write_text(source)

    assert complaints(tmp_path, *sources) == ""


def test_the_type_of_a_job_has_the_fields_of_the_record() -> None:
    (typed,) = re.findall(r"export interface Job \{\n(.*?)\n\}", (ROOT / "npm/index.d.ts").read_text(), re.DOTALL)
    fields = testing.record("job").to_dict()

    assert sorted(re.findall(r"^  (\w+):", typed, re.MULTILINE)) == sorted(fields)


def test_the_texts_of_a_group_are_those_of_the_source() -> None:
    source = (ROOT / "progresskit/web/progress-group.js").read_text()
    (defined,) = re.findall(r"const words = \{\n(.*?)\n\};", source, re.DOTALL)
    (typed,) = re.findall(
        r"export interface GroupStrings extends Strings \{\n(.*?)\n\}", (ROOT / "npm/group.d.ts").read_text(), re.DOTALL
    )
    names = r"^ *(\w+):"
    assert re.findall(names, typed, re.MULTILINE) == re.findall(names, defined, re.MULTILINE)
