"""A conversation with a running server, each step held to what SPEC.md promises: `conversation.py http://HOST:PORT`."""

import sys

import moving
import refusals
import talking
from people import People


def main():
    people = People(sys.argv[1].rstrip("/"))
    for step in (*talking.STEPS, *moving.STEPS, *refusals.STEPS):
        try:
            step(people)
        except Exception:
            print("FAILED", step.__name__.replace("_", " "), flush=True)
            raise
        print("ok", step.__name__.replace("_", " "), flush=True)


if __name__ == "__main__":
    main()
