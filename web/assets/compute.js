// Starts a worker that computes. It has no network: the program comes as its first message, compiled.

import { initSync, compute } from "./worker.js";

onmessage = (event) => {
  onmessage = null;
  initSync({ module: event.data });
  compute();
};
