import { ProgressBar } from "/progress/progresskit.js";

const bar = document.querySelector("[lang=ar] progress-bar");
if (bar instanceof ProgressBar) {
  bar.strings = { someOf: "{current} من {total} صف", some: "{current} صف", rate: "{amount}/ث", left: "متبقٍ {time}", attempt: "المحاولة {n}", cancel: "إلغاء" };
}
