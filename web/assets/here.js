// Starts the worker that is a coordinator and its executor at once, for a page without a server.

import init, { here } from "./here-worker.js";

// What the page says while the program is loading.
const early = [];
onmessage = (event) => early.push(event.data);

await init();
onmessage = null;
here(early);
