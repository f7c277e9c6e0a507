// Starts a worker that computes. It has no network: its program comes as a message, compiled.

import { initSync, compute } from "./compute-worker.js";

// What the talking worker says before.
const early = [];
onmessage = ({ data }) => {
  if (!(data instanceof WebAssembly.Module)) {
    early.push(data);
    return;
  }
  onmessage = null;
  initSync({ module: data });
  compute(early);
};
