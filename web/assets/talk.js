// Starts the worker that talks: it holds the connection, the blobs and the key.

import init, { talk } from "./talk-worker.js";

// What the page says while the program is loading.
const early = [];
onmessage = (event) => early.push(event.data);

await init();
onmessage = null;
talk(early);
