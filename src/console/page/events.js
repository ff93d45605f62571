// Server-sent events over fetch, since EventSource sends no Authorization header.

import { headers } from "/console/api.js";

const SILENCE = 40_000; // The server says something every 15 s.
const LONGEST = 15_000;

/** Splits a stream of text into events; a comment or a half event yields nothing. */
export function parser(emit) {
  let rest = "";
  return (text) => {
    rest += text;
    const blocks = rest.split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) {
      let event = "message";
      const data = [];
      for (const line of block.split(/\r?\n/)) {
        if (line.startsWith("event:")) event = line.slice(6).trim();
        else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
      }
      if (data.length) emit(event, data.join("\n"));
    }
  };
}

/** Follows `/api/events` until `stop()`. One stream at a time. */
export function follow({ onJob, onUp, onDown, onUnauthorized }) {
  let stopped = false;
  let failures = 0;
  let control = null;
  let wake = () => {};

  const pause = (wait) => new Promise((resolve) => {
    const timer = setTimeout(resolve, wait);
    wake = () => { clearTimeout(timer); resolve(); };
  });

  async function once() {
    control = new AbortController();
    let timer = setTimeout(() => control.abort(), SILENCE);
    try {
      const response = await fetch("/api/events", { headers: headers({ Accept: "text/event-stream" }), cache: "no-store", signal: control.signal });
      if (response.status === 401) {
        stopped = true;
        onUnauthorized();
        return;
      }
      if (!response.ok) throw new Error(String(response.status));
      failures = 0;
      onUp();
      const feed = parser((event, data) => { if (event === "job") onJob(JSON.parse(data)); });
      const reader = response.body.getReader();
      const decoder = new TextDecoder();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        clearTimeout(timer);
        timer = setTimeout(() => control.abort(), SILENCE);
        feed(decoder.decode(value, { stream: true }));
      }
    } finally {
      clearTimeout(timer);
    }
  }

  (async () => {
    while (!stopped) {
      const began = Date.now();
      const before = failures;
      let reached = true;
      try {
        await once();
      } catch {
        reached = failures === 0 && Date.now() - began > 1000;
      }
      if (stopped) return;
      // One that is closed as soon as it is opened is no success.
      if (Date.now() - began < 1000) failures = Math.max(failures, before);
      // A stream that ended by itself is opened again before anybody is alarmed.
      if (!reached) onDown();
      failures += 1;
      await pause(Math.min(LONGEST, 250 * 2 ** (failures - 1)) * (0.75 + Math.random() / 2));
    }
  })();

  return {
    stop() { stopped = true; control?.abort(); wake(); },
    /** Connects anew, now. */
    now() { control?.abort(); wake(); },
  };
}
