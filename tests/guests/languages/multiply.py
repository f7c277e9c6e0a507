import hashlib
import json
import os
import random
import sys
import time

import wit_world
from componentize_py_types import Err
from wit_world.imports.logging import Level, log


class WitWorld(wit_world.WitWorld):
    def multiply(self, a: float, b: float) -> float:
        product = a * b
        log(Level.INFO, "guest:python:multiply", f"{a} * {b} = {product}")
        return product

    def probe(self) -> str:
        """What of the language's runtime depends on its world: clocks, randomness, hashing order, files."""
        print("a line for the console")
        print("a line of trouble", file=sys.stderr)
        start = time.monotonic()
        time.sleep(1.5)
        try:
            with open("/etc/passwd") as file:
                opened = file.read()
        except OSError as error:
            opened = type(error).__name__
        return json.dumps(
            {
                "now": time.time(),
                "slept": time.monotonic() - start,
                "random": random.random(),
                "urandom": os.urandom(8).hex(),
                "set": list({"a", "b", "c", "d"}),
                "hash": hashlib.sha256(b"abc").hexdigest()[:8],
                "environment": len(os.environ),
                "arguments": sys.argv[1:],
                "opened": opened,
            }
        )

    def decline(self, why: str) -> float:
        """An error of the function's own."""
        raise Err(why)

    def give_up(self) -> None:
        """An exception that nobody expected."""
        raise RuntimeError("given up")
