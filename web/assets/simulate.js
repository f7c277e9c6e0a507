// Starts the worker that simulates a coordinator and its executors, for a page that looks on.

import init, { simulate } from "./here-worker.js";

// What the page says while the program is loading.
const early = [];
onmessage = (event) => early.push(event.data);

await init();
onmessage = null;
simulate(early);
